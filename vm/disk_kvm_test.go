package vm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/disk"
	"github.com/gureum/gureum/kvm"
	"github.com/gureum/gureum/virtio/blk"
)

// host runs a program of the host.
func host(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// newFileSystem makes an image with an empty ext4.
func newFileSystem(t *testing.T, dir string, size int64) string {
	t.Helper()
	path := newDiskFile(t, dir, "fs.raw", size)
	host(t, "mkfs.ext4", "-q", path)
	return path
}

// work writes, frees, zeroes and reads back, on all CPUs.
const work = `set -e
mkdir -p /m && mount -t ext4 -o discard /dev/vda /m
for i in 1 2 3 4; do
	( dd if=/dev/urandom of=/tmp/$i bs=64k count=64 2>/dev/null; cp /tmp/$i /m/$i; sync; cp /m/$i /m/copy$i ) &
done
wait
sync; rm /m/1; sync
umount /m; echo 3 > /proc/sys/vm/drop_caches; mount -t ext4 /dev/vda /m
for i in 2 3 4; do cmp /tmp/$i /m/$i; cmp /tmp/$i /m/copy$i; done
fstrim -v /m || true
umount /m
`

// noComplaints fails if the guest's kernel complains of the disk. (In the lab it
// complains of its emulated CPU's XSAVE, with a trace.)
func (l *linuxGuest) noComplaints() {
	l.t.Helper()
	if out, _ := l.try(`dmesg | grep -i "I/O error\|virtio.*\(fail\|err\)\|ext4.*error\|blk_update_request\|hung_task"`); out != "" {
		l.t.Errorf("the guest's kernel complains:\n%s", out)
	}
}

// end switches the guest off.
func (l *linuxGuest) end() {
	l.t.Helper()
	_ = l.Close()
}

// TestKVMDisk keeps data on all kinds of disks, on both transports.
func TestKVMDisk(t *testing.T) {
	for _, c := range []struct {
		transport Transport
		engine    blk.Engine
		cache     DiskCache
		format    disk.Format
		cpus      int
	}{
		{TransportMMIO, blk.EngineIOURing, CacheWriteback, disk.Raw, 1},
		{TransportPCI, blk.EngineIOURing, CacheWriteback, disk.Raw, 4},
		{TransportMMIO, blk.EngineIOURing, CacheNone, disk.Raw, 4},
		{TransportPCI, blk.EngineWorkers, CacheNone, disk.Raw, 4},
		{TransportMMIO, blk.EngineWorkers, CacheWriteback, disk.Raw, 2},
		{TransportPCI, blk.EngineAuto, CacheWriteback, disk.Qcow2, 4},
	} {
		t.Run(fmt.Sprintf("%s,%d,%s,%s", c.transport, c.engine, c.cache, c.format), func(t *testing.T) {
			dir := scratchFS(t, "ext4", 192<<20)
			path := newFileSystem(t, dir, 96<<20)
			image := path
			if c.format == disk.Qcow2 {
				image = filepath.Join(dir, "overlay.qcow2")
				if err := disk.CreateOverlay(image, path, disk.OverlayOptions{BaseFormat: disk.Raw}); err != nil {
					t.Fatal(err)
				}
			}
			g := startLinux(t, Config{
				CPUs: c.cpus, Transport: c.transport,
				Disks: []Disk{{Path: image, Engine: c.engine, Cache: c.cache, AllowBacking: true, Queues: c.cpus}},
			})
			if n := g.sh("ls /sys/block/vda/mq | wc -l"); n != fmt.Sprint(c.cpus) {
				t.Errorf("%s queues, want %d", n, c.cpus)
			}
			g.sh(work)
			g.noComplaints()
			t.Logf("%+v", g.Disks()[0].Stats)
			g.end()
			if c.format == disk.Raw {
				host(t, "e2fsck", "-fn", path)
				return
			}
			if r, err := disk.Check(image, disk.Qcow2); err != nil {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// scratchFS mounts a fresh file system of the host: what O_DIRECT, io_uring and
// holes are like depends on it, and the lab's root is none that disks are kept on.
func scratchFS(t *testing.T, kind string, size int64) string {
	t.Helper()
	dir, back := t.TempDir(), t.TempDir()
	if kind == "tmpfs" {
		host(t, "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", size), "tmpfs", dir)
	} else {
		if err := unix.Mount("tmpfs", back, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(back, unix.MNT_DETACH) })
		path := newDiskFile(t, back, "scratch", size)
		host(t, "mkfs."+kind, "-q", path)
		host(t, "mount", "-o", "loop", path, dir)
	}
	t.Cleanup(func() { host(t, "umount", dir) })
	return dir
}

// TestKVMDiskExits counts what a request costs: with requests under way there is no
// exit to user space for them, and few interrupts.
func TestKVMDiskExits(t *testing.T) {
	for _, transport := range []Transport{TransportMMIO, TransportPCI} {
		path := newDiskFile(t, scratchFS(t, "tmpfs", 128<<20), "d.raw", 64<<20)
		g := startLinux(t, Config{CPUs: 2, Transport: transport, Disks: []Disk{{Path: path}}})
		const requests = 4 * 1000
		before, exits := g.Disks()[0].Stats, g.exits()
		g.sh("for i in 0 1 2 3; do dd if=/dev/vda of=/dev/null bs=4k count=1000 skip=$((i*1000)) iflag=direct 2>/dev/null & done; wait")
		reads := g.Disks()[0].Stats.Reads - before.Reads
		perRequest := float64(g.exits()-exits) / float64(reads)
		var kicks, interrupts uint64
		for _, d := range g.Counters() {
			if d.Name != "disk0" {
				continue
			}
			for _, q := range d.Queues {
				kicks += q.Kicks
				interrupts += q.Interrupts
			}
		}
		t.Logf("%s: %d requests of 4 KiB: %.4f exits to user space a request; %.2f kicks, %.2f interrupts",
			transport, reads, perRequest, float64(kicks)/float64(reads), float64(interrupts)/float64(reads))
		if reads < requests || perRequest > 0.1 {
			t.Errorf("%s: %d requests, %.3f exits to user space each", transport, reads, perRequest)
		}
		g.end()
	}
}

// exits counts the exits to user space of all CPUs.
func (l *linuxGuest) exits() uint64 {
	var n uint64
	for _, c := range l.cpus.Counters() {
		n += c.Total()
		c.Each(func(r kvm.ExitReason, n uint64) { l.t.Logf("cpu %d: %s %d", c.CPU, r, n) })
	}
	return n
}

func TestKVMDiskGrows(t *testing.T) {
	path := newFileSystem(t, scratchFS(t, "tmpfs", 128<<20), 16<<20)
	g := startLinux(t, Config{Disks: []Disk{{Path: path, ID: "root"}}})
	g.sh("mkdir /m; mount -t ext4 /dev/vda /m; dd if=/dev/urandom of=/m/x bs=1M count=4 conv=fsync")
	if err := g.ResizeDisk("root", 64<<20); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the guest sees the new size", func() bool {
		return g.sh("blockdev --getsize64 /dev/vda") == "67108864"
	})
	g.sh("umount /m; dd if=/dev/urandom of=/dev/vda bs=1M seek=60 count=4 oflag=direct; dd if=/dev/vda of=/dev/null bs=1M")
	if err := os.Truncate(path, 80<<20); err != nil { // by somebody else
		t.Fatal(err)
	}
	if err := g.ResizeDisk("root", 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the guest sees what somebody else did", func() bool {
		return g.sh("blockdev --getsize64 /dev/vda") == "83886080"
	})
	if g.ResizeDisk("root", 1<<20) == nil || g.ResizeDisk("none", 1<<30) == nil {
		t.Error("a disk shrank, or one that is not there grew")
	}
	g.noComplaints()
	g.end()
	host(t, "e2fsck", "-fn", path)
}

// TestKVMDiskRefuses has disks that cannot be written: read-only, and full.
func TestKVMDiskRefuses(t *testing.T) {
	dir := scratchFS(t, "tmpfs", 24<<20)
	fs := newFileSystem(t, dir, 8<<20)
	sparse := newDiskFile(t, dir, "sparse.raw", 256<<20)
	g := startLinux(t, Config{Disks: []Disk{{Path: fs, ReadOnly: true}, {Path: sparse}}})
	if ro := g.sh("cat /sys/block/vda/ro"); ro != "1" {
		t.Errorf("ro is %s", ro)
	}
	g.sh("mkdir /m; mount -t ext4 -o ro,noload /dev/vda /m; ls /m/lost+found")
	if out, status := g.try("dd if=/dev/zero of=/dev/vda bs=4k count=1 conv=fsync"); status == 0 {
		t.Errorf("a read-only disk was written: %s", out)
	}
	out, status := g.try("dd if=/dev/zero of=/dev/vdb bs=1M count=64 oflag=direct")
	if status == 0 || !strings.Contains(out, "Input/output error") {
		t.Errorf("64 MiB were written to 24: status %d, %s", status, out)
	}
	if s := g.Disks()[1].Stats; s.Errors == 0 {
		t.Errorf("no error counted: %+v", s)
	}
	g.sh("blkdiscard /dev/vdb; dd if=/dev/zero of=/dev/vdb bs=1M count=4 oflag=direct") // there is room again
}

// TestKVMDiskSurvivesAKill ends the machine while the guest writes: the journal
// makes the file system whole, and what was synced is there.
func TestKVMDiskSurvivesAKill(t *testing.T) {
	dir := scratchFS(t, "ext4", 192<<20)
	path := newFileSystem(t, dir, 64<<20)
	g := startLinux(t, Config{CPUs: 2, Disks: []Disk{{Path: path, Cache: CacheNone}}})
	g.sh("mkdir /m; mount -t ext4 /dev/vda /m; echo kept > /m/kept; sync; (while :; do dd if=/dev/urandom of=/m/$((n++)) bs=64k count=4; rm -f /m/$((n-9)); done) >/dev/null 2>&1 &")
	time.Sleep(2 * time.Second)
	g.end()
	if err := exec.Command("e2fsck", "-p", path).Run(); err != nil && err.(*exec.ExitError).ExitCode() > 1 { //nolint:errorlint // what Run gives
		t.Errorf("e2fsck -p: %v", err)
	}
	host(t, "e2fsck", "-fn", path)
	mount := t.TempDir()
	host(t, "mount", "-o", "loop,ro", path, mount)
	defer host(t, "umount", mount)
	if text, err := os.ReadFile(filepath.Join(mount, "kept")); err != nil || string(text) != "kept\n" {
		t.Errorf("%q, %v", text, err)
	}
}
