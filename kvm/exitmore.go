package kvm

import "encoding/binary"

// Suberrors of ExitInternalError (KVM_INTERNAL_ERROR_*).
const (
	InternalErrorEmulation      uint32 = 1 // an instruction that KVM's emulator does not know
	InternalErrorSimultaneous   uint32 = 2 // unexpected simultaneous exceptions
	InternalErrorDeliveryEvent  uint32 = 3 // an exit while an event was delivered
	InternalErrorUnexpectedExit uint32 = 4 // an exit that should not happen
)

// InternalError says why KVM could not go on. Data is what the kernel added, for people. Code
// has the instruction that could not be emulated, if the kernel tells it.
type InternalError struct {
	SubError uint32
	N        int // valid words of Data
	Data     [16]uint64
	CodeLen  int // valid bytes of Code
	Code     [15]byte
}

// InternalError decodes ExitInternalError.
func (v *VCPU) InternalError() InternalError {
	const (
		offData  = 8
		offFlags = 8  // the emulation form begins with flags in place of data[0]
		offSize  = 16 // then the length of the instruction
		offCode  = 17
		hasCode  = 1 << 0 // KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES
	)
	u := v.page()[runUnion:]
	e := InternalError{SubError: binary.LittleEndian.Uint32(u)}
	e.N = int(min(binary.LittleEndian.Uint32(u[4:]), uint32(len(e.Data))))
	for i := range e.N {
		e.Data[i] = binary.LittleEndian.Uint64(u[offData+8*i:])
	}
	if e.SubError == InternalErrorEmulation && e.N >= 3 && binary.LittleEndian.Uint64(u[offFlags:])&hasCode != 0 {
		e.CodeLen = min(int(u[offSize]), len(e.Code))
		copy(e.Code[:], u[offCode:offCode+e.CodeLen])
	}
	return e
}

// Types of SystemEvent (KVM_SYSTEM_EVENT_*).
const (
	SystemEventShutdown uint32 = 1
	SystemEventReset    uint32 = 2
	SystemEventCrash    uint32 = 3
)

// SystemEvent is the guest's wish for the whole machine.
type SystemEvent struct {
	Type uint32
	N    int // valid words of Data
	Data [16]uint64
}

// SystemEvent decodes ExitSystemEvent.
func (v *VCPU) SystemEvent() SystemEvent {
	u := v.page()[runUnion:]
	e := SystemEvent{Type: binary.LittleEndian.Uint32(u)}
	e.N = int(min(binary.LittleEndian.Uint32(u[4:]), uint32(len(e.Data))))
	for i := range e.N {
		e.Data[i] = binary.LittleEndian.Uint64(u[8+8*i:])
	}
	return e
}

// Hypercall is a call of the guest that KVM leaves to user space.
type Hypercall struct {
	Nr       uint64
	Args     [6]uint64
	LongMode bool
}

const hypercallRet = 56 // offset of ret in the union

// Hypercall decodes ExitHypercall.
func (v *VCPU) Hypercall() Hypercall {
	u := v.page()[runUnion:]
	h := Hypercall{Nr: binary.LittleEndian.Uint64(u), LongMode: binary.LittleEndian.Uint32(u[64:])&1 != 0}
	for i := range h.Args {
		h.Args[i] = binary.LittleEndian.Uint64(u[8+8*i:])
	}
	return h
}

// AnswerHypercall is what the guest gets for its hypercall when it goes on.
func (v *VCPU) AnswerHypercall(ret uint64) {
	if !v.fd.closed() {
		putUint64(v.run[runUnion+hypercallRet:], ret)
	}
}

// MSRExit is an access to a model specific register that KVM leaves to user space. Data is the
// value of a write.
type MSRExit struct {
	Write  bool
	Reason uint32 // one of MSRReasonInvalid, MSRReasonUnknown, MSRReasonFilter
	Index  uint32
	Data   uint64
}

const (
	msrError  = 0  // u8, to the kernel
	msrReason = 8  // u32
	msrIndex  = 12 // u32
	msrData   = 16 // u64, both ways
)

// MSRExit decodes ExitRDMSR and ExitWRMSR. AnswerMSR says how the guest goes on.
func (v *VCPU) MSRExit() MSRExit {
	return MSRExit{
		Write:  v.Exit() == ExitWRMSR,
		Reason: v.u32(runUnion + msrReason),
		Index:  v.u32(runUnion + msrIndex),
		Data:   v.u64(runUnion + msrData),
	}
}

// AnswerMSR completes the access: with data for a read, or with #GP in the guest if fault.
func (v *VCPU) AnswerMSR(data uint64, fault bool) {
	if v.fd.closed() {
		return
	}
	u := v.run[runUnion:]
	u[msrError] = 0
	if fault {
		u[msrError] = 1
	}
	if v.Exit() == ExitRDMSR {
		putUint64(u[msrData:], data)
	}
}

// Bits of RunFlags (KVM_RUN_X86_*).
const (
	RunSMM     uint16 = 1 << 0 // the vCPU is in system management mode
	RunBusLock uint16 = 1 << 1 // the exit was due to a bus lock as well
)

// RunFlags tells the vCPU's state at the last exit.
func (v *VCPU) RunFlags() uint16 { return v.u16(runFlags) }

// InterruptsEnabled tells the guest's RFLAGS.IF at the last exit.
func (v *VCPU) InterruptsEnabled() bool { return v.u8(runIFFlag) != 0 }

// ReadyForInterrupt tells if Interrupt would be taken now, without an in-kernel irqchip.
func (v *VCPU) ReadyForInterrupt() bool { return v.u8(runReadyForIRQ) != 0 }

// CR8 tells the guest's task priority at the last exit.
func (v *VCPU) CR8() uint64 { return v.u64(runCR8) }

// APICBase tells the guest's IA32_APIC_BASE at the last exit.
func (v *VCPU) APICBase() uint64 { return v.u64(runAPICBase) }
