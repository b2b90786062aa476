#!/bin/sh
# Run on the application server: a work tree whose release 1.0.0 runs, behind nginx; 1.1.0 is there.
set -e
cd "$(dirname "$0")"
mkdir -p /etc/shop /etc/nginx/rollback
cat >/etc/shop/shop.env <<'CONF'
SHOP_DATABASE=host=10.0.2.2 port=10482 dbname=shop user=shop password=of-the-shop
SHOP_CACHE=redis://:of-the-drill@10.0.2.2:10483/0
CONF
chmod 600 /etc/shop/shop.env
git init --quiet /srv/shop
cp shop.py /srv/shop/
for version in 1.0.0 1.1.0; do
  echo "$version" >/srv/shop/version
  git -C /srv/shop add .
  git -C /srv/shop -c user.name=shop -c user.email=shop@localhost commit --quiet --message="$version"
  git -C /srv/shop tag "$version"
done
git -C /srv/shop checkout --quiet 1.0.0
cp shop.service /etc/systemd/system/
systemctl daemon-reload
: >/etc/nginx/rollback/maintenance.conf
rm -f /etc/nginx/sites-enabled/default
cp shop.conf /etc/nginx/conf.d/
systemctl start shop nginx
