package vcpu

import (
	"fmt"
	"strings"

	"github.com/gureum/gureum/kvm"
)

// Kind says how a guest ended by itself.
type Kind int

// The ways in which a guest ends.
const (
	// KindNone is no end at all: the zero value.
	KindNone Kind = iota
	// KindTripleFault is a processor shutdown, which resets a PC. Kernels do it on purpose as
	// their last means of rebooting.
	KindTripleFault
	// KindReset, KindShutdown and KindCrash are system events of KVM.
	KindReset
	KindShutdown
	KindCrash
	// KindSystemEvent is any other system event.
	KindSystemEvent
	// KindInternalError is an instruction or a situation that KVM cannot handle.
	KindInternalError
	// KindFailEntry is guest state that the processor refuses to run.
	KindFailEntry
	// KindHalt is a HLT that nothing can end, as there is no in-kernel LAPIC.
	KindHalt
	// KindDebug is a stop that SetGuestDebug asked for.
	KindDebug
	// KindMemoryFault is an access to guest memory that the host cannot serve.
	KindMemoryFault
	// KindUnexpected is an exit that this machine never asked for.
	KindUnexpected
	// KindRunFailed is an error of KVM_RUN itself.
	KindRunFailed
)

var kindNames = [...]string{
	KindNone:          "none",
	KindTripleFault:   "triple fault",
	KindReset:         "reset",
	KindShutdown:      "shutdown",
	KindCrash:         "crash",
	KindSystemEvent:   "system event",
	KindInternalError: "KVM internal error",
	KindFailEntry:     "guest state refused by the processor",
	KindHalt:          "halt without interrupt controller",
	KindDebug:         "debug stop",
	KindMemoryFault:   "guest memory that the host cannot serve",
	KindUnexpected:    "unexpected exit",
	KindRunFailed:     "KVM_RUN failed",
}

func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind %d", int(k))
	}
	return kindNames[k]
}

// Stop says which vCPU ended the guest, and how. Err is always set and is an *ExitError.
type Stop struct {
	CPU  int
	Kind Kind
	Err  error
}

// ExitError is the account of an exit after which the guest cannot go on.
type ExitError struct {
	CPU    int
	Kind   Kind
	Reason kvm.ExitReason
	Detail string // what the exit says beyond its reason; may be empty

	Registers Registers
	Err       error // what KVM_RUN gave, for KindRunFailed and KindMemoryFault
}

// Error gives one line: the vCPU, the kind, its detail, and the instruction.
func (e *ExitError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "vcpu %d: %s", e.CPU, e.Kind)
	if e.Detail != "" {
		fmt.Fprintf(&b, ": %s", e.Detail)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if where := e.Registers.where(); where != "" {
		fmt.Fprintf(&b, ", at %s", where)
	}
	return b.String()
}

// Unwrap gives the error of KVM_RUN, if there was one.
func (e *ExitError) Unwrap() error { return e.Err }

// StateError is given by a call that the group's state does not allow.
type StateError struct {
	Op    string
	State State
	Cause error // why the group stopped, if the guest did it
}

func (e *StateError) Error() string {
	s := fmt.Sprintf("%s: vcpus are %s", e.Op, e.State)
	if e.Cause != nil {
		s += fmt.Sprintf(" (%v)", e.Cause)
	}
	return s
}

// Unwrap gives the cause.
func (e *StateError) Unwrap() error { return e.Cause }
