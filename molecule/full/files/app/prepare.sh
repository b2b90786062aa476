#!/bin/sh
# Run on the application server: release 1.0.0 runs, behind nginx, and was good; 1.1.0 is there.
set -e
cd "$(dirname "$0")"
mkdir -p /etc/shop /etc/nginx/rollback
cat >/etc/shop/shop.env <<'CONF'
SHOP_DATABASE=host=10.0.2.2 port=10482 dbname=shop user=shop password=of-the-shop
SHOP_CACHE=redis://:of-the-drill@10.0.2.2:10483/0
CONF
chmod 600 /etc/shop/shop.env
./deploy-shop 1.0.0 1.1.0
: >/etc/nginx/rollback/maintenance.conf
rm -f /etc/nginx/sites-enabled/default
cp shop.conf /etc/nginx/conf.d/
systemctl start shop nginx
