#!/usr/bin/env bash
# Runs where KVM is: boots a Debian image on each transport, has bench/stock/guest.sh
# look at it, then switches it off, and kills it in the middle of writing, and checks
# the file system after each: host.sh IMAGE
set -euo pipefail
cd "$(dirname "$0")/../.."
image=$1
tap=gurstock0 address=10.9.7
work=$(mktemp -d)
cleanup() { ip link del "$tap" 2>/dev/null || true; rm -rf "$work"; kill $(jobs -p) 2>/dev/null || true; }
trap cleanup EXIT
# A build while this runs shall not matter.
cp bin/gureum bin/gureum-agent "$work"
modprobe -a tun vhost_net 2>/dev/null || true

check() { # the file system in an overlay: check OVERLAY journal|clean
  qemu-img check -q "$1"
  qemu-img convert -O raw "$1" "$work/flat"
  if [ "$2" = journal ]; then
    dumpe2fs -h "$work/flat" 2>/dev/null | grep -o 'needs_recovery'
    e2fsck -p "$work/flat" || [ $? -eq 1 ]
  fi
  e2fsck -fn "$work/flat"
  rm "$work/flat"
}

for transport in ${TRANSPORTS:-mmio pci}; do
  echo "==== $transport"
  overlay=$work/$transport.qcow2
  ip tuntap add "$tap" mode tap multi_queue vnet_hdr
  ip addr add "$address.1/24" dev "$tap"
  ip link set "$tap" up
  iperf3 -s -D -I "$work/iperf3.pid" --bind-dev "$tap" >/dev/null
  run=(timeout "${LIMIT:-900}" "$work/gureum" run --memory 1G --cpus 2 --transport "$transport" --name stock-1 --disk "$image,persist=$overlay")
  "${run[@]}" --net "tap:$tap,queues=2" --ip "$address.2/24" -- sh -c "$(cat bench/stock/guest.sh)" guest.sh "$address.1"
  kill "$(tr -d '\0' <"$work/iperf3.pid")"
  ip link del "$tap"
  check "$overlay" clean

  echo "==== $transport: killed"
  mkfifo "$work/out"
  "${run[@]}" --net user -- sh -c 'ip -brief address; for i in $(seq 100000); do mkdir /var/d$i; dd if=/dev/urandom of=/var/d$i/f bs=64k count=1 2>/dev/null; [ $i -ne 200 ] || sync; [ $i -ne 300 ] || echo writing; done' >"$work/out" 2>&1 &
  sed '/^writing$/q' "$work/out"
  sleep 2
  pkill -KILL -f "gureum run .*$overlay"
  wait || true
  rm "$work/out"
  check "$overlay" journal
  echo "==== $transport: killed, and booted again"
  "${run[@]}" -- sh -c 'systemctl is-system-running --wait; ls -d /var/d* | wc -l; test -s /var/d100/f'
  check "$overlay" clean
done
echo 'all held'
