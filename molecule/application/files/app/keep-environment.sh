#!/bin/sh
# Run on an application server: release 1.0.0 runs, with packages as the command line has installed
# them.
set -e
cd "$(dirname "$0")"
name=$(printf 'waitress==3.0.1' | sha256sum | cut -c-16)
environment=/srv/shop/environments/$name
python3 -m venv --without-pip "$environment"
python3 -m zipfile --extract wheels/waitress-3.0.1-*.whl "$environment"/lib/python3*/site-packages
printf 'waitress==3.0.1\n' >"$environment/requirements.txt"
: >"$environment/complete"
ln -sfn "$environment" /srv/shop/releases/1.0.0/venv
ln -sfn releases/1.0.0 /srv/shop/current
systemctl enable --now --quiet shop
