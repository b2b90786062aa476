#!/usr/bin/env bash
# What the Compose tests need and pip does not bring: Docker Engine, a static busybox, a registry, and
# an SSH server for hosts that go away; nftables, iproute2 and systemd for one that is closed.
# Nothing is started: the tests start what they use, and skip with a sentence what is missing.
set -euo pipefail

missing=()
command -v dockerd >/dev/null || docker info >/dev/null 2>&1 || missing+=(docker.io)
command -v iptables >/dev/null || missing+=(iptables)
command -v busybox >/dev/null || missing+=(busybox-static)
command -v docker-registry >/dev/null || missing+=(docker-registry)
command -v sshd >/dev/null || [ -x /usr/sbin/sshd ] || missing+=(openssh-server)
command -v nft >/dev/null || missing+=(nftables)
command -v ip >/dev/null || missing+=(iproute2)
[ -x /lib/systemd/systemd ] || missing+=(systemd)
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "The Compose tests want ${missing[*]} (Debian's names), and this is not root on Debian." >&2
  exit 0
fi

# Debian starts a server when its package is installed, unless this file forbids it.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
