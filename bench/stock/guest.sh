# Runs in the Debian guest, as root, by the agent: what must hold of a stock system.
set -eu
host=$1
say() { printf '\n== %s\n' "$*"; }

say systemd
systemctl is-system-running --wait || { systemctl --failed --no-legend; exit 1; }
systemctl is-active multi-user.target
cloud-init status --wait
test "$(hostname)" = stock-1

say disk
fio --name=verify --filename=/var/tmp/fio --size=32M --rw=randwrite --bs=4k --direct=1 --ioengine=libaio \
  --iodepth=16 --verify=crc32c --verify_fatal=1 --output=/tmp/fio.txt
grep -E 'IOPS|err=' /tmp/fio.txt
fio --name=mixed --filename=/var/tmp/fio2 --size=16M --rw=randrw --bsrange=512-128k --blockalign=512 --ioengine=io_uring \
  --iodepth=32 --verify=sha256 --verify_fatal=1 --output=/tmp/fio.txt
grep -E 'IOPS|err=' /tmp/fio.txt
rm /var/tmp/fio /var/tmp/fio2
fstrim -v /

say network
ip -brief address show
ping -c 20 -i 0.05 -q "$host"
ping -c 5 -i 0.05 -s 8000 -q "$host"
for direction in '' -R; do for streams in 1 4; do
  iperf3 -c "$host" -n 16M -P $streams $direction -f m | grep -E 'receiver$' | tail -n 1
done; done
iperf3 -c "$host" -u -b 20M -t 2 -f m | grep -E 'receiver$'
nic=$(ip -o route get "$host" | sed 's/.* dev \([^ ]*\).*/\1/')
ethtool -i "$nic" | head -n 1
ethtool -k "$nic" | grep -E '^(rx-checksumming|tx-checksumming|scatter-gather|tcp-segmentation-offload|generic-receive-offload): on' | grep -c . | grep -qx 5
ethtool -l "$nic"
ethtool -l "$nic" | grep -A 4 Current | grep -Eq 'Combined:[[:space:]]*2'
ethtool -L "$nic" combined 1 && ping -c 3 -i 0.05 -q "$host" && ethtool -L "$nic" combined 2
ethtool -S "$nic" | grep -E 'packets|drops' | head -n 8

say drivers
for d in /sys/bus/virtio/devices/*; do echo "${d##*/} $(basename "$(readlink "$d/driver")")"; done
cat /sys/class/misc/hw_random/rng_current
dd if=/dev/hwrng of=/dev/null bs=64 count=16 2>&1 | tail -n 1
modprobe -a virtio_blk virtio_net virtio_rng virtio_balloon virtio_console vmw_vsock_virtio_transport virtiofs

say 'complaints of the kernel'
if dmesg --level=emerg,alert,crit,err,warn | grep -iE 'virtio|vd[a-z]|ext4|blk|net|vsock|I/O error|timed? ?out|stuck'; then exit 1; fi
echo none
