package kvm

import "strconv"

// ExitReason says why Run returned (KVM_EXIT_*).
type ExitReason uint32

// Exits that x86 knows. "Answer" says that the guest goes on with what the caller stored.
const (
	ExitUnknown       ExitReason = 0  // hardware gave a reason that KVM does not know: HardwareReason
	ExitException     ExitReason = 1  // not on x86 today
	ExitIO            ExitReason = 2  // port access: IO; an input is an answer
	ExitHypercall     ExitReason = 3  // Hypercall; an answer
	ExitDebug         ExitReason = 4  // SetGuestDebug's doing: DebugExit
	ExitHLT           ExitReason = 5  // HLT without an in-kernel irqchip
	ExitMMIO          ExitReason = 6  // memory access outside of RAM: MMIO; a read is an answer
	ExitIRQWindowOpen ExitReason = 7  // an Interrupt can be taken now
	ExitShutdown      ExitReason = 8  // triple fault
	ExitFailEntry     ExitReason = 9  // hardware refused the guest's state: FailEntry
	ExitIntr          ExitReason = 10 // goes with ErrInterrupted
	ExitSetTPR        ExitReason = 11 // CR8 changed, without an in-kernel irqchip
	ExitTPRAccess     ExitReason = 12 // with TPR access reporting
	ExitNMI           ExitReason = 16 // a host NMI came
	ExitInternalError ExitReason = 17 // KVM cannot go on: InternalError
	ExitWatchdog      ExitReason = 21
	ExitSystemEvent   ExitReason = 24 // SystemEvent
	ExitIOAPICEOI     ExitReason = 26 // split irqchip, level interrupt done: EOIVector
	ExitHyperV        ExitReason = 27
	ExitRDMSR         ExitReason = 29 // MSRExit; an answer
	ExitWRMSR         ExitReason = 30 // MSRExit; an answer
	ExitDirtyRingFull ExitReason = 31 // harvest and reset the ring
	ExitAPResetHold   ExitReason = 32
	ExitBusLock       ExitReason = 33
	ExitXen           ExitReason = 34
	ExitNotify        ExitReason = 37 // Notify
	ExitMemoryFault   ExitReason = 39 // comes with EFAULT from Run, not nil
	ExitTDX           ExitReason = 40
)

// exitNames is laid out by the compiler and costs nothing at start.
var exitNames = [...]string{
	ExitUnknown:       "unknown",
	ExitException:     "exception",
	ExitIO:            "io",
	ExitHypercall:     "hypercall",
	ExitDebug:         "debug",
	ExitHLT:           "hlt",
	ExitMMIO:          "mmio",
	ExitIRQWindowOpen: "irq-window-open",
	ExitShutdown:      "shutdown",
	ExitFailEntry:     "fail-entry",
	ExitIntr:          "interrupted",
	ExitSetTPR:        "set-tpr",
	ExitTPRAccess:     "tpr-access",
	ExitNMI:           "nmi",
	ExitInternalError: "internal-error",
	ExitWatchdog:      "watchdog",
	ExitSystemEvent:   "system-event",
	ExitIOAPICEOI:     "ioapic-eoi",
	ExitHyperV:        "hyperv",
	ExitRDMSR:         "rdmsr",
	ExitWRMSR:         "wrmsr",
	ExitDirtyRingFull: "dirty-ring-full",
	ExitAPResetHold:   "ap-reset-hold",
	ExitBusLock:       "bus-lock",
	ExitXen:           "xen",
	ExitNotify:        "notify",
	ExitMemoryFault:   "memory-fault",
	ExitTDX:           "tdx",
}

// NumExitReasons is one more than the highest ExitReason that has a name; counters by reason
// need that many places and one for the rest.
const NumExitReasons = len(exitNames)

// String gives a short name, such as "mmio".
func (r ExitReason) String() string {
	if int(r) < len(exitNames) && exitNames[r] != "" {
		return exitNames[r]
	}
	return "exit-" + strconv.FormatUint(uint64(r), 10)
}
