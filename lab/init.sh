#!/bin/busybox sh
# First process of L1: reach this machine's files, then hand over to the lab's
# agent, which finds its own path on the kernel's command line.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
{ for m in /kvm/*; do $b insmod "$m"; done; } &
for m in /boot/*; do $b insmod "$m"; done
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro root /ro
$b mount -t tmpfs -o mode=755 rw /rw
$b mkdir /rw/upper /rw/work
$b mount -t overlay -o lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work root /new
for w in $($b cat /proc/cmdline); do
	case $w in lab.agent=*) agent=$($b printf '%b' "${w#lab.agent=}") ;; esac
done
for d in dev proc sys run; do $b mkdir -p /new/$d; done
for d in dev proc sys; do $b mount -o move /$d /new/$d; done
$b mount -t tmpfs -o mode=755 run /new/run
# The machine's files as they are, for those that L1's own mounts hide.
$b mkdir -p /new/run/lab/root
$b mount -o move /ro /new/run/lab/root
wait # for KVM
exec $b switch_root /new "/run/lab/root$agent"
