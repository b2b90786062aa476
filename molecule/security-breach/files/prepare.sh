#!/bin/sh
# Run on the machine: a shop with a hole, its database, two releases of it.
set -e
cd "$(dirname "$0")"
mkdir -p /etc/shop
printf 'SHOP_DATABASE_PASSWORD=first\nSHOP_SESSION_KEY=first\n' >/etc/shop/shop.env
chmod 600 /etc/shop/shop.env
./deploy-shop 1.0.0 1.0.1
# They run again when the machine has started anew.
systemctl --quiet enable postgresql shop
systemctl start postgresql@15-main
su postgres -c 'psql --quiet --set=ON_ERROR_STOP=1' <shop.sql
systemctl start shop
