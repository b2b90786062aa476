#!/bin/sh
# Run on the database server: PostgreSQL and Redis as Debian brings them, for one more host. Debian's
# Python client of Redis is too old for redis_flush; without pip, which takes minutes here.
set -e
cd "$(dirname "$0")"
printf "listen_addresses = '*'\n" >/etc/postgresql/15/main/conf.d/drill.conf
printf 'host shop shop 10.0.2.2/32 scram-sha-256\n' >>/etc/postgresql/15/main/pg_hba.conf
printf 'bind 0.0.0.0\nrequirepass of-the-drill\n' >>/etc/redis/redis.conf
cp migration.sql /srv/
for wheel in wheels/*.whl; do
  python3 -m zipfile --extract "$wheel" /usr/local/lib/python3.11/dist-packages
done
systemctl start postgresql@15-main redis-server
su postgres -c 'psql --quiet --set=ON_ERROR_STOP=1' <shop.sql
