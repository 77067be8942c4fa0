package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/gureum/gureum/guest/disk"
	"golang.org/x/sys/unix"
)

// loop makes a block device of a file of n bytes, and gives both. It needs no KVM, but root
// and a kernel that the test may load a module into, as the lab's host is.
func loop(t *testing.T, n int64) (device, file string) {
	t.Helper()
	file = temp(t, "loop.img")
	if err := disk.Create(file, n, disk.Raw, disk.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("modprobe", "loop").CombinedOutput(); err != nil {
		t.Logf("modprobe loop: %v: %s", err, out) // it may be built in
	}
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = control.Close() }()
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		t.Fatal(err)
	}
	device = fmt.Sprintf("/dev/loop%d", number)
	under, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = under.Close() }()
	dev, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dev.Close() })
	if err := unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_SET_FD, int(under.Fd())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_CLR_FD, 0) })
	return device, file
}

func TestKVMBlockDeviceAsRawDisk(t *testing.T) {
	device, file := loop(t, 8*mib)
	for _, direct := range []bool{false, true} {
		d := open(t, device, disk.Options{Direct: direct})
		if d.Size() != 8*mib {
			t.Fatalf("size %d", d.Size())
		}
		if _, err := disk.Open(device, disk.Options{}); !errors.Is(err, disk.ErrLocked) {
			t.Errorf("a second writer: %v", err)
		}
		want := text(8*mib, 5)
		write(t, d, want, 0)
		for _, z := range [][2]int{{0, mib}, {mib + 512, 4096}, {3*mib + 100, 200_000}} {
			for _, unmap := range []bool{true, false} {
				if err := d.WriteZeroes(int64(z[0]), int64(z[1]), unmap); err != nil {
					t.Errorf("write zeroes %v, unmap %v: %v", z, unmap, err)
				}
			}
			clear(want[z[0] : z[0]+z[1]])
		}
		if err := d.Discard(7*mib, mib); err != nil {
			t.Error(err)
		}
		if err := d.Flush(); err != nil {
			t.Error(err)
		}
		if got := contents(t, d); !bytes.Equal(got[:7*mib], want[:7*mib]) {
			t.Error("it reads otherwise")
		}
		shut(t, d)
	}

	// The device grows first; then the disk may follow, and no further.
	d := open(t, device, disk.Options{})
	if err := d.Resize(16 * mib); !errors.Is(err, disk.ErrRange) {
		t.Errorf("past the device: %v", err)
	}
	if err := os.Truncate(file, 16*mib); err != nil {
		t.Fatal(err)
	}
	dev, err := os.Open(device)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_SET_CAPACITY, 0); err != nil {
		t.Fatal(err)
	}
	_ = dev.Close()
	if err := d.Resize(16 * mib); err != nil {
		t.Error(err)
	}
	write(t, d, []byte("end"), 16*mib-3)
	shut(t, d)
}

func TestKVMBlockDeviceHoldsQcow2(t *testing.T) {
	device, _ := loop(t, 32*mib)
	raw := open(t, device, disk.Options{Format: disk.Raw})
	write(t, raw, bytes.Repeat([]byte{0xa5}, 32*mib), 0)
	shut(t, raw)
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", device, "20M")
	if _, err := disk.Open(device, disk.Options{}); !errors.Is(err, disk.ErrFormat) {
		t.Errorf("without a format named: %v", err)
	}
	for _, direct := range []bool{false, true} {
		d := open(t, device, disk.Options{Format: disk.Qcow2, Direct: direct})
		want := make([]byte, 20*mib)
		if direct {
			want = contents(t, d)
		} else if !bytes.Equal(contents(t, d), want) {
			t.Error("an empty image is not empty")
		}
		for off := 1000; off < 19*mib; off += 3 * mib {
			copy(want[off:], text(300_000, byte(off>>20)))
			write(t, d, want[off:off+300_000], int64(off))
		}
		if err := d.Discard(mib, 5*mib); err != nil {
			t.Error(err)
		}
		clear(want[mib : 6*mib])
		shut(t, d)
		d = open(t, device, disk.Options{Format: disk.Qcow2})
		if !bytes.Equal(contents(t, d), want) {
			t.Errorf("direct %v: it reads otherwise", direct)
		}
		shut(t, d)
		qemu(t, "qemu-img", "check", "-f", "qcow2", device)
	}
}
