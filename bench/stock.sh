#!/usr/bin/env bash
# Builds a Debian image and shows that it runs, on both transports: here if this host
# can, else in the lab. It takes a quarter of an hour in the lab.
set -euo pipefail
cd "$(dirname "$0")/.."

export GUREUM_IMAGES=${GUREUM_IMAGES:-$PWD/bin/images}
bin/gureum image inspect stock >/dev/null 2>&1 ||
  bin/gureum image build debian:12 --name stock --package fio --package iperf3 --package ethtool --package iputils-ping
if bin/gureum doctor >/dev/null 2>&1; then
  exec bench/stock/host.sh stock
fi
exec bin/lab --memory 6G --timeout 60m -- env GUREUM_IMAGES="$GUREUM_IMAGES" TRANSPORTS="${TRANSPORTS:-mmio pci}" "$PWD/bench/stock/host.sh" stock
