#!/bin/sh
# Run on the machine: release 1.0.0 of a shop runs, others are there, nothing was ever backed up.
set -e
cd "$(dirname "$0")"
# Debian's Python client of Redis is too old for redis_flush; without pip, which takes minutes here.
for wheel in wheels/*.whl; do
  python3 -m zipfile --extract "$wheel" /usr/local/lib/python3.11/dist-packages
done

printf 'max_connections = 20\n' >/etc/postgresql/15/main/conf.d/drill.conf
printf 'requirepass of-the-drill\n' >>/etc/redis/redis.conf
systemctl start postgresql redis-server
su postgres -c 'psql --quiet --set=ON_ERROR_STOP=1' <shop.sql
for who in probe-one:one probe-two:two grace:grace; do
  redis-cli -a of-the-drill --no-auth-warning set "session:${who%:*}" "${who#*:}@shop.example"
done
# It is going to be killed.
redis-cli -a of-the-drill --no-auth-warning save

release() {
  mkdir -p "/srv/shop/releases/$1"
  cp shop.py live.py "/srv/shop/releases/$1/"
  [ -z "$2" ] || echo "$2" >"/srv/shop/releases/$1/fault"
}
release 1.0.0 ''
release 1.1.0 'sells nothing'
release 1.2.0 'mixes sessions'
release 1.3.0 'leaks'
release 1.4.0 'recommends nothing'
release 1.5.0 'is slow'
cp payment.py ask.py crowd.py crawler.py /srv/
install -m 755 deploy /usr/local/sbin/
mkdir -p /etc/shop
cp flags.json /etc/shop/
cat >/etc/shop/shop.env <<'CONF'
SHOP_DATABASE="host=127.0.0.1 dbname=shop user=shop password=of-the-shop connect_timeout=5"
SHOP_CACHE=redis://:of-the-drill@127.0.0.1:6379/0
SHOP_POOL=2
CONF
chmod 600 /etc/shop/shop.env

mkdir -p /etc/nginx/rollback /etc/nginx/tls
: >/etc/nginx/rollback/maintenance.conf
printf 'upstream shop { server 127.0.0.1:8000; }\n' >/etc/nginx/rollback/upstream.conf
install -m 600 good/shop.key /etc/nginx/tls/
cp good/shop.pem good/ca.pem /etc/nginx/tls/
cp -r expired /srv/
rm -f /etc/nginx/sites-enabled/default
cp shop.conf /etc/nginx/conf.d/

cp ./*.service /etc/systemd/system/
systemctl daemon-reload
systemctl start payment nginx
deploy 1.0.0
