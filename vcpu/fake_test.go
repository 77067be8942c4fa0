package vcpu

import (
	"encoding/binary"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gureum/gureum/kvm"
	"go.uber.org/goleak"
)

// fakeMachine behaves as a kvm.VCPU does towards the loop: it gives exits until it is kicked.
type fakeMachine struct {
	immediate atomic.Bool
	runs      atomic.Int64
	ctrl      atomic.Int64 // calls of KVMClockCtrl

	next func() error // makes the exit that Run gives; nil is a guest that computes

	reason  kvm.ExitReason
	io      kvm.IOExit
	mmio    kvm.MMIOExit
	event   kvm.SystemEvent
	intern  kvm.InternalError
	fail    kvm.FailEntry
	notify  uint32
	msr     *bool // what AnswerMSR was told
	hyper   uint64
	regs    kvm.Regs
	sregs   kvm.Sregs
	regsErr error
	mapped  func(addr uint64) (uint64, bool)
}

func (f *fakeMachine) Run() error {
	f.runs.Add(1)
	for {
		if f.immediate.Load() {
			return kvm.ErrInterrupted
		}
		if f.next != nil {
			return f.next()
		}
		time.Sleep(10 * time.Microsecond)
	}
}

func (f *fakeMachine) SetImmediateExit(on bool)         { f.immediate.Store(on) }
func (f *fakeMachine) KVMClockCtrl() error              { f.ctrl.Add(1); return nil }
func (f *fakeMachine) Exit() kvm.ExitReason             { return f.reason }
func (f *fakeMachine) IO() kvm.IOExit                   { return f.io }
func (f *fakeMachine) MMIO() kvm.MMIOExit               { return f.mmio }
func (f *fakeMachine) AnswerHypercall(ret uint64)       { f.hyper = ret }
func (f *fakeMachine) AnswerMSR(_ uint64, fault bool)   { f.msr = &fault }
func (f *fakeMachine) HardwareReason() uint64           { return 0x1234 }
func (f *fakeMachine) FailEntry() kvm.FailEntry         { return f.fail }
func (f *fakeMachine) InternalError() kvm.InternalError { return f.intern }
func (f *fakeMachine) SystemEvent() kvm.SystemEvent     { return f.event }
func (f *fakeMachine) DebugExit() kvm.DebugExit         { return kvm.DebugExit{Exception: 3, PC: 0x99} }

func (f *fakeMachine) MemoryFault() kvm.MemoryFault {
	return kvm.MemoryFault{GPA: 0x5000, Size: 0x1000}
}
func (f *fakeMachine) Notify() uint32                { return f.notify }
func (f *fakeMachine) EOIVector() uint8              { return 0x31 }
func (f *fakeMachine) Regs() (kvm.Regs, error)       { return f.regs, f.regsErr }
func (f *fakeMachine) Sregs() (kvm.Sregs, error)     { return f.sregs, nil }
func (f *fakeMachine) MPState() (kvm.MPState, error) { return kvm.MPRunnable, nil }
func (f *fakeMachine) Translate(addr uint64) (kvm.Translation, error) {
	t := kvm.Translation{LinearAddress: addr}
	if f.mapped != nil {
		if gpa, ok := f.mapped(addr); ok {
			t.PhysicalAddress, t.Valid = gpa, 1
		}
	}
	return t, nil
}

// recorder is a bus that remembers its accesses and answers reads with a rising number.
type recorder struct {
	log   []access
	value uint64
}

type access struct {
	write bool
	addr  uint64
	data  string
}

func (r *recorder) Read(addr uint64, data []byte) {
	r.value++
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], r.value)
	copy(data, b[:])
	r.log = append(r.log, access{false, addr, string(data)})
}

func (r *recorder) Write(addr uint64, data []byte) {
	r.log = append(r.log, access{true, addr, string(data)})
}

// fakeGroup has n vCPUs without KVM.
func fakeGroup(t *testing.T, cfg Config, n int) (*Group, []*fakeMachine) {
	t.Helper()
	leak := goleak.IgnoreCurrent()
	if cfg.PIO == nil {
		cfg.PIO, cfg.MMIO = &recorder{}, &recorder{}
	}
	cfg.CPUs = n
	g := newGroup(cfg)
	var err error
	if g.topology, err = cfg.Topology.Resolve(n); err != nil {
		t.Fatal(err)
	}
	machines := make([]*fakeMachine, n)
	for i := range machines {
		machines[i] = &fakeMachine{}
		g.cpus = append(g.cpus, &cpu{group: g, index: i, m: machines[i]})
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		goleak.VerifyNone(t, leak)
	})
	return g, machines
}
