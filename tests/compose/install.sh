#!/usr/bin/env bash
# What the Compose tests need and pip does not bring: Docker Engine and a static busybox.
set -euo pipefail

missing=()
command -v dockerd >/dev/null || missing+=(docker.io)
command -v iptables >/dev/null || missing+=(iptables)
command -v busybox >/dev/null || missing+=(busybox-static)
[ ${#missing[@]} -eq 0 ] && exit 0

if docker info >/dev/null 2>&1 && command -v busybox >/dev/null; then
  exit 0 # an Engine that runs elsewhere is as good
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "The Compose tests need ${missing[*]} (Debian's names), and this is not root on Debian." >&2
  echo "Install them, or let DOCKER_HOST name an Engine, and run this again." >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet=2
apt-get install --quiet=2 --yes --no-install-recommends "${missing[@]}"
