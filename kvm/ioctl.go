package kvm

import (
	"errors"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
	"golang.org/x/sys/unix"
)

// ioctl performs a request whose argument is a number, or that has none. EINTR is repeated:
// outside KVM_RUN it only says that a signal came while the kernel waited for a lock
// (KVM_CREATE_VM and KVM_CREATE_VCPU do this), and no caller has anything else to do.
func (d *descriptor) ioctl(req, arg uintptr) (int, error) {
	if err := d.acquire(); err != nil {
		return 0, err
	}
	defer d.release()
	for {
		r, err := gokvm.Ioctl(uintptr(d.n), req, arg)
		if err == nil {
			return int(r), nil
		}
		if !errors.Is(err, unix.EINTR) {
			return 0, err
		}
	}
}

// run performs KVM_RUN. gokvm.Ioctl goes through syscall.Syscall, which tells the Go
// scheduler that this thread is away: KVM_RUN stays in the guest for as long as the guest
// likes, and a RawSyscall would keep the scheduler's P with it, so that a collection or any
// goroutine queued there would wait for the guest. The runtime's own preemption signals are
// not sent to a thread in a system call, so they cost no exits.
func (d *descriptor) run() error {
	if err := d.acquire(); err != nil {
		return err
	}
	_, err := gokvm.Ioctl(uintptr(d.n), reqRun, 0)
	d.release()
	if err == nil {
		return nil
	}
	if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
		return ErrInterrupted
	}
	return err
}
