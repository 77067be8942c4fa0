package kvm

// DebugFlags say what SetGuestDebug does (KVM_GUESTDBG_*). 0 is off.
type DebugFlags uint32

// To be combined; nothing works without DebugEnable.
const (
	DebugEnable     DebugFlags = 1 << 0
	DebugSingleStep DebugFlags = 1 << 1  // an ExitDebug after each instruction
	DebugUseSWBP    DebugFlags = 1 << 16 // an ExitDebug on INT3
	DebugUseHWBP    DebugFlags = 1 << 17 // an ExitDebug by GuestDebug.DebugReg
	DebugInjectDB   DebugFlags = 1 << 18 // give the guest a #DB
	DebugInjectBP   DebugFlags = 1 << 19 // give the guest a #BP
	DebugBlockIRQ   DebugFlags = 1 << 20 // no interrupts while stepping (Linux 5.16)
)

// GuestDebug is the argument of SetGuestDebug.
type GuestDebug struct {
	Control  DebugFlags
	DebugReg [8]uint64 // with DebugUseHWBP: DR0 to DR3 and DR7
}

// SetGuestDebug debugs the guest from outside, without its help (KVM_SET_GUEST_DEBUG).
func (v *VCPU) SetGuestDebug(g GuestDebug) error {
	k := guestDebug{control: uint32(g.Control), debugReg: g.DebugReg}
	_, err := ioctlPtr(v.fd, reqSetGuestDebug, &k)
	return v.opError("KVM_SET_GUEST_DEBUG", err)
}
