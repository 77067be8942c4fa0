package vcpu

import (
	"fmt"
	"strings"

	"github.com/gureum/gureum/kvm"
)

// died makes the account of an exit that the guest cannot go on after. Only for the failure
// path: it allocates and asks the kernel much.
func (c *cpu) died(kind Kind, err error) *Stop {
	e := &ExitError{CPU: c.index, Kind: kind, Reason: c.m.Exit(), Err: err}
	e.Registers = c.registers()
	e.Detail = c.detail(e)
	return &Stop{CPU: c.index, Kind: kind, Err: e}
}

func (c *cpu) detail(e *ExitError) string {
	switch e.Kind {
	case KindFailEntry:
		f := c.m.FailEntry()
		return fmt.Sprintf("hardware reason %#x on host CPU %d%s", f.Reason, f.CPU, failEntryHint(f.Reason))
	case KindInternalError:
		i := c.m.InternalError()
		if i.CodeLen > 0 { // what KVM tried to emulate is more to the point than what lies at RIP
			e.Registers.Code, e.Registers.CodeErr = append([]byte(nil), i.Code[:i.CodeLen]...), nil
		}
		return internalErrorText(&i)
	case KindReset, KindShutdown, KindCrash, KindSystemEvent:
		s := c.m.SystemEvent()
		return fmt.Sprintf("type %d%s", s.Type, words(s.Data[:s.N]))
	case KindDebug:
		d := c.m.DebugExit()
		return fmt.Sprintf("vector %d at %#x, dr6 %#x, dr7 %#x", d.Exception, d.PC, d.DR6, d.DR7)
	case KindMemoryFault:
		if e.Reason == kvm.ExitMemoryFault {
			f := c.m.MemoryFault()
			return fmt.Sprintf("%d bytes at gpa %#x, flags %#x", f.Size, f.GPA, f.Flags)
		}
	case KindUnexpected:
		return c.unexpectedText(e.Reason)
	}
	return ""
}

func (c *cpu) unexpectedText(r kvm.ExitReason) string {
	switch r {
	case kvm.ExitUnknown:
		return fmt.Sprintf("%s, hardware reason %#x", r, c.m.HardwareReason())
	case kvm.ExitNotify:
		return fmt.Sprintf("%s, flags %#x: the guest's state is lost", r, c.m.Notify())
	case kvm.ExitIOAPICEOI:
		return fmt.Sprintf("%s, vector %d", r, c.m.EOIVector())
	}
	return r.String()
}

// failEntryHint explains the two reasons that mean the same: the state breaks a rule (Intel SDM
// volume 3, 27.7; AMD APM volume 2, 15.5.1, VMEXIT_INVALID).
func failEntryHint(reason uint64) string {
	switch {
	case reason&0xFFFF == 33 && reason>>31&1 == 1, uint32(reason) == 0xFFFFFFFF:
		return " (invalid guest state)"
	case reason == 7:
		return " (invalid VMX control field)"
	}
	return ""
}

func internalErrorText(i *kvm.InternalError) string {
	text := fmt.Sprintf("suberror %d", i.SubError)
	switch i.SubError {
	case kvm.InternalErrorEmulation:
		text += " (instruction that KVM cannot emulate)"
	case kvm.InternalErrorSimultaneous:
		text += " (simultaneous exceptions)"
	case kvm.InternalErrorDeliveryEvent:
		text += " (exit while an event was delivered)"
	case kvm.InternalErrorUnexpectedExit:
		text += " (exit that KVM did not expect)"
	}
	return text + words(i.Data[:i.N])
}

func words(data []uint64) string {
	if len(data) == 0 {
		return ""
	}
	return fmt.Sprintf(", data %#x", data)
}

// Dump gives the error with all registers, for a person to read.
func (e *ExitError) Dump() string {
	var b strings.Builder
	b.WriteString(e.Error())
	b.WriteByte('\n')
	e.Registers.write(&b, "  ")
	return b.String()
}
