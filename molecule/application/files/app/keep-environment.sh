#!/bin/sh
# Run on an application server: the packages of release 1.0.0 are still there, as the command line
# installed them when it was current.
set -e
cd "$(dirname "$0")"
name=$(printf 'waitress==3.0.1' | sha256sum | cut -c-16)
environment=/srv/shop/environments/$name
python3 -m venv --without-pip "$environment"
python3 -m zipfile --extract wheels/waitress-3.0.1-*.whl "$environment"/lib/python3*/site-packages
printf 'waitress==3.0.1\n' >"$environment/requirements.txt"
: >"$environment/complete"
