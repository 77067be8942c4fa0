package kvm

// Regs reads the general purpose registers.
func (v *VCPU) Regs() (Regs, error) {
	var r Regs
	_, err := ioctlPtr(v.fd, reqGetRegs, &r)
	return r, v.opError("KVM_GET_REGS", err)
}

// SetRegs writes the general purpose registers.
func (v *VCPU) SetRegs(r *Regs) error {
	_, err := ioctlPtr(v.fd, reqSetRegs, r)
	return v.opError("KVM_SET_REGS", err)
}

// Sregs reads the segment and control registers.
func (v *VCPU) Sregs() (Sregs, error) {
	var s Sregs
	_, err := ioctlPtr(v.fd, reqGetSregs, &s)
	return s, v.opError("KVM_GET_SREGS", err)
}

// SetSregs writes the segment and control registers.
func (v *VCPU) SetSregs(s *Sregs) error {
	_, err := ioctlPtr(v.fd, reqSetSregs, s)
	return v.opError("KVM_SET_SREGS", err)
}

// FPU reads the x87 and SSE registers, but for MXCSR, which the kernel leaves out.
func (v *VCPU) FPU() (FPU, error) {
	var f FPU
	_, err := ioctlPtr(v.fd, reqGetFPU, &f)
	return f, v.opError("KVM_GET_FPU", err)
}

// SetFPU writes the x87 and SSE registers. On processors with XSAVE the kernel does not mark
// them as in use, so that a guest which has not touched them yet starts with their reset values
// all the same: XSave and SetXSave carry everything.
func (v *VCPU) SetFPU(f *FPU) error {
	_, err := ioctlPtr(v.fd, reqSetFPU, f)
	return v.opError("KVM_SET_FPU", err)
}

// XCRs reads the extended control registers.
func (v *VCPU) XCRs() (XCRs, error) {
	var x XCRs
	_, err := ioctlPtr(v.fd, reqGetXCRs, &x)
	return x, v.opError("KVM_GET_XCRS", err)
}

// SetXCRs writes the extended control registers.
func (v *VCPU) SetXCRs(x *XCRs) error {
	_, err := ioctlPtr(v.fd, reqSetXCRs, x)
	return v.opError("KVM_SET_XCRS", err)
}

// LAPIC reads the local APIC's registers. Needs the in-kernel irqchip.
func (v *VCPU) LAPIC() (LAPICState, error) {
	var l LAPICState
	_, err := ioctlPtr(v.fd, reqGetLAPIC, &l)
	return l, v.opError("KVM_GET_LAPIC", err)
}

// SetLAPIC writes the local APIC's registers.
func (v *VCPU) SetLAPIC(l *LAPICState) error {
	_, err := ioctlPtr(v.fd, reqSetLAPIC, l)
	return v.opError("KVM_SET_LAPIC", err)
}

// Bits of VCPUEvents.Flags: which fields Events gives and SetEvents takes (KVM_VCPUEVENT_VALID_*).
const (
	EventsNMIPending  uint32 = 1 << 0
	EventsSIPIVector  uint32 = 1 << 1
	EventsShadow      uint32 = 1 << 2
	EventsSMM         uint32 = 1 << 3
	EventsPayload     uint32 = 1 << 4
	EventsTripleFault uint32 = 1 << 5
)

// Events reads the pending and injected exceptions and interrupts.
func (v *VCPU) Events() (VCPUEvents, error) {
	var e VCPUEvents
	_, err := ioctlPtr(v.fd, reqGetVCPUEvents, &e)
	return e, v.opError("KVM_GET_VCPU_EVENTS", err)
}

// SetEvents writes the pending and injected exceptions and interrupts.
func (v *VCPU) SetEvents(e *VCPUEvents) error {
	_, err := ioctlPtr(v.fd, reqSetVCPUEvents, e)
	return v.opError("KVM_SET_VCPU_EVENTS", err)
}

// DebugRegs reads the guest's debug registers.
func (v *VCPU) DebugRegs() (DebugRegs, error) {
	var d DebugRegs
	_, err := ioctlPtr(v.fd, reqGetDebugRegs, &d)
	return d, v.opError("KVM_GET_DEBUGREGS", err)
}

// SetDebugRegs writes the guest's debug registers.
func (v *VCPU) SetDebugRegs(d *DebugRegs) error {
	_, err := ioctlPtr(v.fd, reqSetDebugRegs, d)
	return v.opError("KVM_SET_DEBUGREGS", err)
}

// MPState reads whether the vCPU runs, is halted, or waits for INIT or SIPI.
func (v *VCPU) MPState() (MPState, error) {
	var s uint32
	_, err := ioctlPtr(v.fd, reqGetMPState, &s)
	return MPState(s), v.opError("KVM_GET_MP_STATE", err)
}

// SetMPState writes what MPState reads.
func (v *VCPU) SetMPState(s MPState) error {
	n := uint32(s)
	_, err := ioctlPtr(v.fd, reqSetMPState, &n)
	return v.opError("KVM_SET_MP_STATE", err)
}
