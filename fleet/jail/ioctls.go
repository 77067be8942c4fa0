package jail

import "golang.org/x/sys/unix"

// Requests of ioctl, from the kernel's uapi headers kvm.h, vhost.h, if_tun.h and fs.h.

// runIoctls are a vCPU's own, and those that show its state when the guest died.
func runIoctls() []uint32 {
	return append([]uint32{
		0xae80, // KVM_RUN
		0xaead, // KVM_KVMCLOCK_CTRL
	}, stateIoctls()...)
}

// stateIoctls read what a vCPU's state is; none sets it.
func stateIoctls() []uint32 {
	return []uint32{
		0x8090ae81, // KVM_GET_REGS
		0x8138ae83, // KVM_GET_SREGS
		0xc018ae85, // KVM_TRANSLATE
		0x8004ae98, // KVM_GET_MP_STATE
		0x8040ae9f, // KVM_GET_VCPU_EVENTS
		0x8080aea1, // KVM_GET_DEBUGREGS
		0xc008ae88, // KVM_GET_MSRS
		0x8400ae8e, // KVM_GET_LAPIC
		0xae03,     // KVM_CHECK_EXTENSION
	}
}

// deviceIoctls are what drivers of the guest bring about: rings start and stop.
func deviceIoctls() []uint32 {
	return []uint32{
		0x4008ae61, // KVM_IRQ_LINE
		0x4008ae6a, // KVM_SET_GSI_ROUTING
		0x4020ae76, // KVM_IRQFD
		0x4040ae79, // KVM_IOEVENTFD
		0x4020aea5, // KVM_SIGNAL_MSI
		0xae9a,     // KVM_NMI
		0x8008af00, // VHOST_GET_FEATURES
		0x4008af00, // VHOST_SET_FEATURES
		0xaf01,     // VHOST_SET_OWNER
		0xaf02,     // VHOST_RESET_OWNER
		0x4008af03, // VHOST_SET_MEM_TABLE
		0x4008af10, // VHOST_SET_VRING_NUM
		0x4028af11, // VHOST_SET_VRING_ADDR
		0x4008af12, // VHOST_SET_VRING_BASE
		0xc008af12, // VHOST_GET_VRING_BASE
		0x4008af20, // VHOST_SET_VRING_KICK
		0x4008af21, // VHOST_SET_VRING_CALL
		0x4008af22, // VHOST_SET_VRING_ERR
		0x4008af30, // VHOST_NET_SET_BACKEND
		0x4008af60, // VHOST_VSOCK_SET_GUEST_CID
		0x4004af61, // VHOST_VSOCK_SET_RUNNING
		unix.TUNSETOFFLOAD, unix.TUNSETQUEUE, unix.TUNSETCARRIER, unix.TUNSETTXFILTER,
		unix.TUNSETVNETHDRSZ,
	}
}

// hostIoctls are those on guest memory, disks and terminals. TIOCSTI, which types into a terminal, is
// not among them.
func hostIoctls() []uint32 {
	return []uint32{
		0x4020ae46, // KVM_SET_USER_MEMORY_REGION
		unix.TCGETS, unix.TIOCGWINSZ,
		unix.BLKGETSIZE64, unix.BLKSSZGET, unix.BLKPBSZGET,
		0x1277, // BLKDISCARD
		0x127f, // BLKZEROOUT
	}
}
