package kvm

import (
	"strconv"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
)

// Structures that gokvm lays out as the kernel does (TestABI compares sizes and offsets).
type (
	// Regs are the general purpose registers, RIP and RFLAGS (struct kvm_regs).
	Regs = gokvm.Regs
	// Sregs are the segment, control and descriptor table registers (struct kvm_sregs).
	Sregs = gokvm.Sregs
	// Segment is one segment register with its hidden part (struct kvm_segment).
	Segment = gokvm.Segment
	// Descriptor is GDTR or IDTR (struct kvm_dtable).
	Descriptor = gokvm.Descriptor
	// LAPICState is the local APIC's register page, 16 bytes a register (struct kvm_lapic_state).
	LAPICState = gokvm.LAPICState
	// ClockData is the state of kvmclock, in nanoseconds (struct kvm_clock_data).
	ClockData = gokvm.ClockData
	// DebugRegs are DR0 to DR3, DR6 and DR7 (struct kvm_debugregs).
	DebugRegs = gokvm.DebugRegs
	// XCRs are the extended control registers, XCR0 in practice (struct kvm_xcrs).
	XCRs = gokvm.XCRS
	// VCPUEvents are pending and injected exceptions, interrupts, NMI, SMI and SIPI
	// (struct kvm_vcpu_events).
	VCPUEvents = gokvm.VCPUEvents
	// Translation is the answer of Translate (struct kvm_translation).
	Translation = gokvm.Translation
	// PITState is the state of the in-kernel i8254 (struct kvm_pit_state2).
	PITState = gokvm.PITState2
	// PITChannel is one of its three channels (struct kvm_pit_channel_state).
	PITChannel = gokvm.PITChannelState
	// IRQChipState is the state of one in-kernel interrupt controller (struct kvm_irqchip):
	// ChipID says which, Chip is a union that depends on it.
	IRQChipState = gokvm.IRQChip
)

// CPUIDEntry is what CPUID answers for one leaf or subleaf (struct kvm_cpuid_entry2).
type CPUIDEntry struct {
	Function, Index, Flags uint32
	EAX, EBX, ECX, EDX     uint32
	_                      [3]uint32
}

// CPUIDSignificantIndex in CPUIDEntry.Flags says that Index (ECX) selects the entry
// (KVM_CPUID_FLAG_SIGNIFCANT_INDEX).
const CPUIDSignificantIndex uint32 = 1 << 0

// MSREntry is one model specific register (struct kvm_msr_entry).
type MSREntry struct {
	Index uint32
	_     uint32
	Data  uint64
}

// FPU is the x87 and SSE state without what XSAVE adds (struct kvm_fpu).
type FPU struct {
	FPR        [8][16]byte
	FCW, FSW   uint16
	FTW        uint8 // in FXSAVE's abridged form
	_          uint8
	LastOpcode uint16
	LastIP     uint64
	LastDP     uint64
	XMM        [16][16]byte
	MXCSR      uint32
	_          uint32
}

// MPState says whether a vCPU runs, waits or is halted (struct kvm_mp_state).
type MPState uint32

// Values of MPState on x86.
const (
	MPRunnable      MPState = 0 // executing
	MPUninitialized MPState = 1 // application processor that waits for INIT
	MPInitReceived  MPState = 2 // INIT seen, waits for SIPI
	MPHalted        MPState = 3 // executed HLT, waits for an interrupt
	MPSIPIReceived  MPState = 4 // SIPI seen, about to run
)

// mpNames is laid out by the compiler and costs nothing at start.
var mpNames = [...]string{
	MPRunnable:      "runnable",
	MPUninitialized: "uninitialized",
	MPInitReceived:  "init-received",
	MPHalted:        "halted",
	MPSIPIReceived:  "sipi-received",
}

// String gives a short name, such as "halted".
func (s MPState) String() string {
	if int(s) < len(mpNames) {
		return mpNames[s]
	}
	return "mp-state-" + strconv.FormatUint(uint64(s), 10)
}

// The kernel's view of arguments, in the order of requests_unsafe.go.
type (
	irqLevel struct {
		irq   uint32
		level uint32
	}

	pitConfig struct {
		flags uint32
		_     [15]uint32
	}

	coalescedZone struct {
		addr uint64
		size uint32
		pio  uint32
	}

	irqFD struct {
		fd         uint32
		gsi        uint32
		flags      uint32
		resampleFD uint32
		_          [16]byte
	}

	ioEventFD struct {
		dataMatch uint64
		addr      uint64
		len       uint32
		fd        int32
		flags     uint32
		_         [36]byte
	}

	msi struct {
		addressLo uint32
		addressHi uint32
		data      uint32
		_         [5]uint32 // flags, devid and padding, which mean nothing on x86
	}

	// routingEntry has room for every kind of route; gokvm's has only the irqchip kind's
	// 8 of 32 bytes, so that a table of two entries is read wrongly.
	routingEntry struct {
		gsi  uint32
		kind uint32
		_    [2]uint32 // flags, for other architectures, and padding
		u    [8]uint32
	}

	// The bitmaps are real pointers, so that they stay alive and in place.
	dirtyLog struct {
		slot   uint32
		_      uint32
		bitmap *uint64
	}

	clearDirtyLog struct {
		slot      uint32
		numPages  uint32
		firstPage uint64
		bitmap    *uint64
	}

	msrFilterRange struct {
		flags  uint32
		nmsrs  uint32
		base   uint32
		bitmap *byte
	}

	msrFilter struct {
		flags  uint32
		ranges [maxMSRFilterRanges]msrFilterRange
	}

	enableCap struct {
		cap  uint32
		_    uint32 // flags: none are defined
		args [4]uint64
		_    [64]byte
	}

	guestDebug struct {
		control  uint32
		_        uint32
		debugReg [8]uint64
	}

	signalMask struct {
		len    uint32
		sigset [8]byte
	}
)

const (
	minXSaveSize       = 4096 // struct kvm_xsave without its flexible tail
	maxMSRFilterRanges = 16   // KVM_MSR_FILTER_MAX_RANGES
)
