#!/bin/sh
# Run on an application server: two releases are deployed, and 1.0.0 was good.
set -e
cd "$(dirname "$0")"
mkdir -p /srv/shop/environments /srv/shop/wheels
cp wheels/*.whl /srv/shop/wheels/
release() {
  mkdir -p "/srv/shop/releases/$1"
  cp shop.py "/srv/shop/releases/$1/"
  printf 'waitress==%s\n' "$2" >"/srv/shop/releases/$1/requirements.txt"
  printf '{"cents": 1200, "pieces": %s}\n' "$3" >"/srv/shop/releases/$1/prices.json"
}
release 1.0.0 3.0.1 2
release 1.1.0 3.0.2 0
# The packages of the bad release alone.
# Without pip, which takes minutes on an emulated processor.
venv=/srv/shop/releases/1.1.0/venv
python3 -m venv --without-pip "$venv"
python3 -m zipfile --extract wheels/waitress-3.0.2-*.whl "$venv"/lib/python3*/site-packages
cp shop.service /etc/systemd/system/
systemctl daemon-reload
