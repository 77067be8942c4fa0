package kvm

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// VCPU is one virtual CPU. All its methods but SetImmediateExit, ID and Close belong to the
// one OS thread that calls Run (see runtime.LockOSThread): the kernel ties a vCPU to its
// thread, and makes others that ask for its state wait until Run returns.
type VCPU struct {
	fd  *descriptor
	vm  *VM
	id  int
	run []byte // the mapping that begins with struct kvm_run

	ring     []byte // the dirty ring, nil without
	ringNext uint32 // the next entry of the ring to harvest
}

// ID is the id that the vCPU was made with.
func (v *VCPU) ID() int { return v.id }

// Close gives the vCPU and its mappings up. It does not end a Run that is under way: the vCPU
// goes when that returns. Slices that Exit's companions gave are invalid afterwards.
func (v *VCPU) Close() error { return v.fd.Close() }

// unmap is called once, when nobody uses the descriptor any more.
func (v *VCPU) unmap() {
	_ = unix.Munmap(v.run)
	if v.ring != nil {
		_ = unix.Munmap(v.ring)
	}
}

// Run enters the guest (KVM_RUN) and comes back with its next exit: after nil, Exit tells why.
// ErrInterrupted means that the thread was wanted elsewhere, see there. A kick that is never
// lost: the kicker notes its request, calls SetImmediateExit(true) and sends the thread a
// signal (SIGURG has a harmless handler in every Go program); after ErrInterrupted the thread
// calls SetImmediateExit(false), then looks at the request. Run does not allocate.
func (v *VCPU) Run() error {
	err := v.fd.run()
	if err == nil || errors.Is(err, ErrInterrupted) {
		return err
	}
	return v.opError("KVM_RUN", err)
}

func (v *VCPU) opError(op string, err error) error {
	if err == nil {
		return nil
	}
	return opError(fmt.Sprintf("%s on vcpu %d", op, v.id), err)
}

// EnableCap switches an extension on for this vCPU (KVM_ENABLE_CAP).
func (v *VCPU) EnableCap(c Cap, args ...uint64) error {
	return enable(v.fd, c, args)
}

// NMI queues a non-maskable interrupt.
func (v *VCPU) NMI() error {
	_, err := v.fd.ioctl(reqNMI, 0)
	return v.opError("KVM_NMI", err)
}

// SMI queues a system management interrupt.
func (v *VCPU) SMI() error {
	_, err := v.fd.ioctl(reqSMI, 0)
	return v.opError("KVM_SMI", err)
}

// Interrupt queues a hardware interrupt vector. Only without an in-kernel irqchip.
func (v *VCPU) Interrupt(vector uint8) error {
	n := uint32(vector)
	_, err := ioctlPtr(v.fd, reqInterrupt, &n)
	return v.opError("KVM_INTERRUPT", err)
}

// Translate looks a guest-virtual address up in the guest's page tables, in its current mode.
// Valid is 0 if it is not mapped.
func (v *VCPU) Translate(addr uint64) (Translation, error) {
	t := Translation{LinearAddress: addr}
	_, err := ioctlPtr(v.fd, reqTranslate, &t)
	return t, v.opError("KVM_TRANSLATE", err)
}

// SetSignalMask sets the signals that are blocked while the thread is in Run, in place of the
// thread's own (KVM_SET_SIGNAL_MASK); bit n-1 stands for signal n. Nobody needs it who uses
// SetImmediateExit.
func (v *VCPU) SetSignalMask(mask uint64) error {
	m := signalMask{len: 8}
	putUint64(m.sigset[:], mask)
	_, err := ioctlPtr(v.fd, reqSetSignalMask, &m)
	return v.opError("KVM_SET_SIGNAL_MASK", err)
}

// ClearSignalMask takes back SetSignalMask.
func (v *VCPU) ClearSignalMask() error {
	_, err := v.fd.ioctl(reqSetSignalMask, 0)
	return v.opError("KVM_SET_SIGNAL_MASK", err)
}
