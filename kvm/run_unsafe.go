package kvm

import (
	"sync/atomic"
	"unsafe"
)

// SetImmediateExit makes the next Run, and each after it, return ErrInterrupted without
// entering the guest, until it is set to false. It may be called from any goroutine while the
// vCPU runs: a Run that is in the guest already needs a signal as well. After Close it does
// nothing.
//
// immediate_exit and request_interrupt_window are bytes of one 32-bit word, the smallest that
// Go's atomics work on; the kernel only reads them.
func (v *VCPU) SetImmediateExit(on bool) {
	v.setRunByte(runImmediateExit, on)
}

// RequestInterruptWindow asks for ExitIRQWindowOpen as soon as the guest can take an
// Interrupt. Only without an in-kernel irqchip.
func (v *VCPU) RequestInterruptWindow(on bool) {
	v.setRunByte(runRequestWindow, on)
}

func (v *VCPU) setRunByte(off int, on bool) {
	if v.fd.acquire() != nil {
		return
	}
	word := (*uint32)(unsafe.Pointer(unsafe.SliceData(v.run)))
	if bit := uint32(1) << (8 * off); on {
		atomic.OrUint32(word, bit)
	} else {
		atomic.AndUint32(word, ^bit)
	}
	v.fd.release()
}
