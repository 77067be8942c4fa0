package kvm

import (
	"errors"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// pipeFD gives a descriptor whose closing shows: its other end reads end of file.
func pipeFD(t *testing.T) (d *descriptor, closed func() bool) {
	t.Helper()
	var p [2]int
	check(t, unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
	t.Cleanup(func() { _ = unix.Close(p[0]) })
	return newDescriptor(p[1]), func() bool {
		n, err := unix.Read(p[0], make([]byte, 1))
		return n == 0 && err == nil
	}
}

func TestDescriptorCloseOnce(t *testing.T) {
	d, closed := pipeFD(t)
	destroyed := 0
	d.destroy = func() { destroyed++ }
	if closed() {
		t.Fatal("closed from the start")
	}
	for range 3 {
		check(t, d.Close())
	}
	if !closed() || destroyed != 1 {
		t.Errorf("closed %v, destroyed %d times", closed(), destroyed)
	}
	if err := d.acquire(); !errors.Is(err, ErrClosed) {
		t.Errorf("acquire after Close: %v", err)
	}
	if _, err := d.ioctl(0, 0); !errors.Is(err, ErrClosed) {
		t.Errorf("ioctl after Close: %v", err)
	}
	if _, err := ioctlPtr(d, 0, new(uint32)); !errors.Is(err, ErrClosed) {
		t.Errorf("ioctl with a pointer after Close: %v", err)
	}
	if err := d.run(); !errors.Is(err, ErrClosed) {
		t.Errorf("run after Close: %v", err)
	}
}

func TestDescriptorCloseWaitsForUsers(t *testing.T) {
	d, closed := pipeFD(t)
	check(t, d.acquire())
	check(t, d.acquire())
	check(t, d.Close())
	d.release()
	if closed() {
		t.Fatal("closed under a user")
	}
	if err := d.acquire(); !errors.Is(err, ErrClosed) {
		t.Errorf("acquire while closing: %v", err)
	}
	d.release()
	if !closed() {
		t.Fatal("not closed by the last user")
	}
}

// TestDescriptorRace lets users and closers meet: destroy runs once, and never under a user.
func TestDescriptorRace(t *testing.T) {
	for range 200 {
		d, closed := pipeFD(t)
		var gone bool // written by destroy; the race detector watches
		d.destroy = func() { gone = true }
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for d.acquire() == nil {
					if gone {
						t.Error("acquired after destroy")
					}
					d.release()
				}
			})
			wg.Go(func() { _ = d.Close() })
		}
		wg.Wait()
		if !gone || !closed() {
			t.Fatal("not closed in the end")
		}
	}
}

func TestIoctlErrors(t *testing.T) {
	d, _ := pipeFD(t)
	defer d.Close()
	_, err := d.ioctl(reqGetAPIVersion, 0)
	if err = opError("KVM_GET_API_VERSION", err); !errors.Is(err, unix.ENOTTY) || !errors.Is(err, ErrNotSupported) {
		t.Errorf("ioctl on a pipe: %v", err)
	}
	if err := argError("KVM_X", "slot %d", 3); err.Error() != "KVM_X: slot 3: invalid argument" || !errors.Is(err, unix.EINVAL) {
		t.Errorf("argument error: %v", err)
	}
	if opError("KVM_X", nil) != nil {
		t.Error("an error for no error")
	}
}
