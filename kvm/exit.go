package kvm

import "encoding/binary"

// Offsets in struct kvm_run (include/uapi/linux/kvm.h). TestABI compares them.
const (
	runRequestWindow = 0  // request_interrupt_window, u8
	runImmediateExit = 1  // immediate_exit, u8
	runExitReason    = 8  // u32
	runReadyForIRQ   = 12 // ready_for_interrupt_injection, u8
	runIFFlag        = 13 // u8
	runFlags         = 14 // u16
	runCR8           = 16 // u64
	runAPICBase      = 24 // u64
	runUnion         = 32 // what the exit reason says
	runUnionSize     = 256

	// runPageMin is what every accessor may take for granted of the mapping's size: kvm_run and
	// the page of port data.
	runPageMin = 2 * pageSize
)

func putUint64(b []byte, n uint64) { binary.LittleEndian.PutUint64(b, n) }

// noExit is what the accessors read after Close.
var noExit [runUnion + runUnionSize]byte

// page gives the run page. Everything in it was put there by KVM on the guest's behalf, so
// offsets and lengths in it are checked before use.
func (v *VCPU) page() []byte {
	if v.fd.closed() {
		return noExit[:]
	}
	return v.run
}

func (v *VCPU) u8(off int) uint8   { return v.page()[off] }
func (v *VCPU) u16(off int) uint16 { return binary.LittleEndian.Uint16(v.page()[off:]) }
func (v *VCPU) u32(off int) uint32 { return binary.LittleEndian.Uint32(v.page()[off:]) }
func (v *VCPU) u64(off int) uint64 { return binary.LittleEndian.Uint64(v.page()[off:]) }

// Exit says why the last Run that gave nil returned. The accessor that belongs to the reason
// tells the rest; the others give nonsense, but harmless.
func (v *VCPU) Exit() ExitReason { return ExitReason(v.u32(runExitReason)) }

// IOExit is a port access. Data has Count items of Size bytes (1, 2 or 4); string instructions
// give more than one. Data aliases the run page: an input is answered by writing to it. It is
// empty if the kernel's numbers make no sense.
type IOExit struct {
	In    bool
	Size  int
	Count int
	Port  uint16
	Data  []byte
}

// IO decodes ExitIO. It does not allocate.
func (v *VCPU) IO() IOExit {
	p := v.page()
	u := p[runUnion:]
	e := IOExit{
		In:    u[0] == 0, // KVM_EXIT_IO_IN
		Size:  int(u[1]),
		Port:  binary.LittleEndian.Uint16(u[2:]),
		Count: int(binary.LittleEndian.Uint32(u[4:])),
	}
	offset := binary.LittleEndian.Uint64(u[8:])
	length := uint64(e.Size) * uint64(e.Count) // below 2^40
	if offset > uint64(len(p)) || length > uint64(len(p))-offset {
		return e
	}
	e.Data = p[offset : offset+length : offset+length]
	return e
}

// MMIOExit is an access to guest-physical memory that no slot backs, or a write to a read-only
// slot. Data has 1 to 8 bytes and aliases the run page: a read is answered by writing to it.
type MMIOExit struct {
	Addr  uint64
	Write bool
	Data  []byte
}

// MMIO decodes ExitMMIO. It does not allocate.
func (v *VCPU) MMIO() MMIOExit {
	u := v.page()[runUnion:]
	n := min(binary.LittleEndian.Uint32(u[16:]), 8)
	return MMIOExit{
		Addr:  binary.LittleEndian.Uint64(u),
		Write: u[20] != 0,
		Data:  u[8 : 8+n : 8+n],
	}
}

// HardwareReason tells the processor's exit reason of ExitUnknown.
func (v *VCPU) HardwareReason() uint64 { return v.u64(runUnion) }

// FailEntry tells why the processor refused to enter the guest: its own reason code and the
// host CPU that it happened on.
type FailEntry struct {
	Reason uint64
	CPU    uint32
}

// FailEntry decodes ExitFailEntry.
func (v *VCPU) FailEntry() FailEntry {
	return FailEntry{Reason: v.u64(runUnion), CPU: v.u32(runUnion + 8)}
}

// DebugExit says where SetGuestDebug stopped the guest: vector 1 (#DB) or 3 (#BP).
type DebugExit struct {
	Exception uint32
	PC        uint64 // linear address
	DR6, DR7  uint64
}

// DebugExit decodes ExitDebug.
func (v *VCPU) DebugExit() DebugExit {
	return DebugExit{
		Exception: v.u32(runUnion),
		PC:        v.u64(runUnion + 8),
		DR6:       v.u64(runUnion + 16),
		DR7:       v.u64(runUnion + 24),
	}
}

// EOIVector gives the vector that the guest ended, at ExitIOAPICEOI.
func (v *VCPU) EOIVector() uint8 { return v.u8(runUnion) }

// NotifyContextInvalid in what Notify gives says that the guest's state is lost.
const NotifyContextInvalid uint32 = 1 << 0

// Notify gives the flags of ExitNotify: the guest kept the processor from taking events.
func (v *VCPU) Notify() uint32 { return v.u32(runUnion) }

// MemoryFault tells what guest-physical range could not be made accessible, when Run gives
// unix.EFAULT and Exit is ExitMemoryFault (Linux 6.8).
type MemoryFault struct {
	Flags     uint64
	GPA, Size uint64
}

// MemoryFault decodes ExitMemoryFault.
func (v *VCPU) MemoryFault() MemoryFault {
	return MemoryFault{Flags: v.u64(runUnion), GPA: v.u64(runUnion + 8), Size: v.u64(runUnion + 16)}
}
