#!/bin/busybox sh
# First process of L1: reach this machine's files, then hand over to the lab's
# agent, which finds its own path on the kernel's command line.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
for m in /m/*; do $b insmod "$m"; done
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro root /ro
$b mount -t tmpfs -o mode=755 rw /rw
$b mkdir /rw/upper /rw/work
$b mount -t overlay -o lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work root /new
for d in dev proc sys; do $b mkdir -p /new/$d; $b mount -o move /$d /new/$d; done
$b mkdir -p /new/run
$b mount -t tmpfs -o mode=755 run /new/run
$b mkdir /new/run/lab; $b cp /bin/busybox /new/run/lab/busybox
$b mount -o bind /new/proc /proc
for w in $($b cat /proc/cmdline); do
	case $w in lab.agent=*) agent=$($b printf '%b' "${w#lab.agent=}") ;; esac
done
$b umount /proc
# The shell stays process 1 and collects orphans until the agent is gone.
exec $b switch_root /new /run/lab/busybox sh -c '"$1"; /run/lab/busybox poweroff -f' init "$agent"
