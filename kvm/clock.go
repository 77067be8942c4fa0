package kvm

// Bits of ClockData.Flags (KVM_CLOCK_*).
const (
	ClockTSCStable uint32 = 1 << 1 // kvmclock is the same on all vCPUs
	ClockRealtime  uint32 = 1 << 2 // ClockData.Realtime is valid
	ClockHostTSC   uint32 = 1 << 3 // ClockData.HostTSC is valid
)

// Clock reads the guest's kvmclock, in nanoseconds, and where KVM can the host's wall clock and
// TSC at the same instant.
func (vm *VM) Clock() (ClockData, error) {
	var c ClockData
	_, err := ioctlPtr(vm.fd, reqGetClock, &c)
	return c, opError("KVM_GET_CLOCK", err)
}

// SetClock sets the guest's kvmclock. With ClockRealtime in Flags the kernel adds the time that
// has passed since c.Realtime. Other flags are not taken and must be clear.
func (vm *VM) SetClock(c *ClockData) error {
	_, err := ioctlPtr(vm.fd, reqSetClock, c)
	return opError("KVM_SET_CLOCK", err)
}

// TSCKHz gives the TSC frequency that new vCPUs get, in kHz. Needs CapVMTSCControl.
func (vm *VM) TSCKHz() (int, error) {
	n, err := vm.fd.ioctl(reqGetTSCKHz, 0)
	return n, opError("KVM_GET_TSC_KHZ", err)
}

// SetTSCKHz sets the TSC frequency that new vCPUs get, in kHz. Needs CapVMTSCControl.
func (vm *VM) SetTSCKHz(khz int) error {
	_, err := vm.fd.ioctl(reqSetTSCKHz, uintptr(khz))
	return opError("KVM_SET_TSC_KHZ", err)
}

// TSCKHz gives the vCPU's TSC frequency in kHz. Needs CapGetTSCKHz.
func (v *VCPU) TSCKHz() (int, error) {
	n, err := v.fd.ioctl(reqGetTSCKHz, 0)
	return n, v.opError("KVM_GET_TSC_KHZ", err)
}

// SetTSCKHz sets the vCPU's TSC frequency in kHz. Without CapTSCControl only frequencies close
// to the host's work.
func (v *VCPU) SetTSCKHz(khz int) error {
	_, err := v.fd.ioctl(reqSetTSCKHz, uintptr(khz))
	return v.opError("KVM_SET_TSC_KHZ", err)
}

// KVMClockCtrl tells the guest that it was paused, so that its watchdogs do not bark
// (KVM_KVMCLOCK_CTRL). unix.EINVAL means that the guest does not use kvmclock, which callers
// may pass over.
func (v *VCPU) KVMClockCtrl() error {
	_, err := v.fd.ioctl(reqKVMClockCtrl, 0)
	return v.opError("KVM_KVMCLOCK_CTRL", err)
}
