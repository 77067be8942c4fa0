package vcpu

import (
	"errors"
	"math"

	"github.com/gureum/gureum/kvm"
	"golang.org/x/sys/unix"
)

// loop runs the guest until the group stops (nil) or the guest cannot go on.
//
// A request is looked at only after ErrInterrupted, not before Run: entering KVM once more,
// with immediate_exit set, is what completes the access of the exit before (api.rst, 5,
// "KVM_EXIT_IO ... the corresponding operations are complete only after userspace has re-entered").
func (c *cpu) loop() *Stop {
	g := c.group
	for {
		err := c.m.Run()
		if err == nil {
			if kind := c.dispatch(); kind != KindNone {
				return c.died(kind, nil)
			}
			continue
		}
		if !errors.Is(err, kvm.ErrInterrupted) {
			return c.runFailed(err)
		}
		c.interrupted.Add(1)
		if g.attention.Load() && !g.park(c) {
			return nil
		}
	}
}

// dispatch handles one exit. Anything but KindNone ends the guest. It does not allocate.
func (c *cpu) dispatch() Kind {
	reason := c.m.Exit()
	c.exits[min(int(reason), kvm.NumExitReasons)].Add(1)
	switch reason {
	case kvm.ExitIO:
		c.portIO()
	case kvm.ExitMMIO:
		c.mmio()
	case kvm.ExitRDMSR, kvm.ExitWRMSR:
		// KVM passes on only what it does not know itself: no such register, so #GP.
		c.m.AnswerMSR(0, true)
	case kvm.ExitHypercall:
		c.m.AnswerHypercall(noSuchHypercall)
	case kvm.ExitIRQWindowOpen, kvm.ExitSetTPR, kvm.ExitTPRAccess, kvm.ExitBusLock, kvm.ExitIntr, kvm.ExitNMI:
		// Reports that need no answer.
	case kvm.ExitShutdown:
		return KindTripleFault
	case kvm.ExitSystemEvent:
		return systemEventKind(c.m.SystemEvent().Type)
	case kvm.ExitInternalError:
		return KindInternalError
	case kvm.ExitFailEntry:
		return KindFailEntry
	case kvm.ExitHLT:
		return KindHalt
	case kvm.ExitDebug:
		return KindDebug
	case kvm.ExitNotify:
		if c.m.Notify()&kvm.NotifyContextInvalid != 0 {
			return KindUnexpected
		}
	default:
		return KindUnexpected
	}
	return KindNone
}

// noSuchHypercall is -KVM_ENOSYS, as KVM itself answers unknown calls (uapi/linux/kvm_para.h).
const noSuchHypercall = math.MaxUint64 - 999

// portIO answers a port access. String instructions come with several items, each an access of
// its own to the device.
func (c *cpu) portIO() {
	io := c.m.IO()
	bus, port := c.group.cfg.PIO, uint64(io.Port)
	if io.Count == 1 {
		if io.In {
			bus.Read(port, io.Data)
		} else {
			bus.Write(port, io.Data)
		}
		return
	}
	if io.Size < 1 {
		return
	}
	for data := io.Data; len(data) >= io.Size; data = data[io.Size:] {
		item := data[:io.Size:io.Size]
		if io.In {
			bus.Read(port, item)
		} else {
			bus.Write(port, item)
		}
	}
}

func (c *cpu) mmio() {
	m := c.m.MMIO()
	if m.Write {
		c.group.cfg.MMIO.Write(m.Addr, m.Data)
	} else {
		c.group.cfg.MMIO.Read(m.Addr, m.Data)
	}
}

func systemEventKind(event uint32) Kind {
	switch event {
	case kvm.SystemEventShutdown:
		return KindShutdown
	case kvm.SystemEventReset:
		return KindReset
	case kvm.SystemEventCrash:
		return KindCrash
	}
	return KindSystemEvent
}

// runFailed sorts the errors of KVM_RUN. EFAULT is about guest memory, and then Exit may tell
// where.
func (c *cpu) runFailed(err error) *Stop {
	if errors.Is(err, unix.EFAULT) {
		return c.died(KindMemoryFault, err)
	}
	return c.died(KindRunFailed, err)
}
