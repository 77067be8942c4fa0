package vcpu

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/gureum/gureum/kvm"
)

// Bus answers accesses to ports or to guest-physical addresses that are not RAM. It is called
// on vCPU threads, several at once, and must not keep data, which is the vCPU's own page.
// A handler must not call the Group's methods but End: it is on the thread that they would wait for.
type Bus interface {
	Read(addr uint64, data []byte)
	Write(addr uint64, data []byte)
}

// Config is what a Group is made from.
type Config struct {
	CPUs     int
	Topology Topology // the zero value is one socket with a core for each CPU
	Features Features

	PIO, MMIO Bus // required
	// CodeReader reads guest memory, to show the instruction that a guest died on. May be nil.
	CodeReader func(gpa uint64, p []byte) error
	// OnStop is called once, when the guest ended by itself; not for Stop. The other vCPUs
	// have been told to stop by then. It may call Stop and Wait, but not Close, which waits
	// for it. May be nil.
	OnStop func(Stop)
	// OnThread is called on each vCPU's own thread, which is locked, before it first enters
	// the guest: the place to take rights from it. Its error ends the guest. May be nil.
	OnThread func() error
}

// Group is the processors of one virtual machine. Its methods may be called from several
// goroutines; see State for what is allowed when.
type Group struct {
	cfg       Config
	topology  Topology
	cpuid     *cpuidTable
	stateMSRs []uint32
	cpus      []*cpu

	// op serialises the calls that look at or change vCPUs from outside. Stop does without,
	// so that it can end a Pause that waits.
	op sync.Mutex

	// attention tells vCPU threads that mu has news for them. Set before immediate_exit.
	attention atomic.Bool

	mu     sync.Mutex // guards what follows, and each cpu's tid
	cond   sync.Cond  // any change of what mu guards
	state  State
	closed bool
	live   int   // threads that run their loop
	parked int   // those of them that wait in park
	cause  *Stop // the first, if the guest stopped by itself

	threads sync.WaitGroup
}

// cpu is one vCPU with its thread.
type cpu struct {
	group *Group
	index int
	m     machine
	vcpu  *kvm.VCPU // nil in tests of the loop alone
	tid   int       // of the thread, 0 while there is none; guarded by group.mu

	interrupted atomic.Uint64
	exits       [kvm.NumExitReasons + 1]atomic.Uint64
}

// machine is what the run loop needs of a kvm.VCPU.
type machine interface {
	Run() error
	SetImmediateExit(on bool)
	KVMClockCtrl() error

	Exit() kvm.ExitReason
	IO() kvm.IOExit
	MMIO() kvm.MMIOExit
	AnswerHypercall(ret uint64)
	AnswerMSR(data uint64, fault bool)

	HardwareReason() uint64
	FailEntry() kvm.FailEntry
	InternalError() kvm.InternalError
	SystemEvent() kvm.SystemEvent
	DebugExit() kvm.DebugExit
	MemoryFault() kvm.MemoryFault
	Notify() uint32
	EOIVector() uint8

	Regs() (kvm.Regs, error)
	Sregs() (kvm.Sregs, error)
	MPState() (kvm.MPState, error)
	Translate(addr uint64) (kvm.Translation, error)
}

// New makes the vCPUs of vm, with CPUID, MSRs and local APICs set, in their reset state. vm must
// have its in-kernel interrupt controllers already. On error nothing is left behind but vCPUs
// that vm remembers: close it.
func New(sys *kvm.System, vm *kvm.VM, cfg Config) (*Group, error) {
	if cfg.PIO == nil || cfg.MMIO == nil {
		return nil, fmt.Errorf("make vcpus: no bus for ports or for memory")
	}
	topology, err := cfg.Topology.Resolve(cfg.CPUs)
	if err != nil {
		return nil, fmt.Errorf("make vcpus: %w", err)
	}
	if err := checkLimits(vm, cfg.CPUs, topology); err != nil {
		return nil, fmt.Errorf("make vcpus: %w", err)
	}
	g := newGroup(cfg)
	g.topology = topology
	if err := g.setup(sys, vm); err != nil {
		_ = g.Close()
		return nil, fmt.Errorf("make vcpus: %w", err)
	}
	return g, nil
}

func newGroup(cfg Config) *Group {
	g := &Group{cfg: cfg}
	g.cond.L = &g.mu
	return g
}

// LimitError says that the host's KVM cannot give as many CPUs, or as high APIC ids.
type LimitError struct {
	What      string
	Want, Max int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%d %s, but this host's KVM allows at most %d", e.Want, e.What, e.Max)
}

func checkLimits(vm *kvm.VM, cpus int, t Topology) error {
	most, err := vm.CheckExtension(kvm.CapMaxVCPUs)
	if err != nil {
		return err
	}
	if most == 0 { // older than Linux 3.0
		most = 4
	}
	if cpus > most {
		return &LimitError{What: "CPUs", Want: cpus, Max: most}
	}
	ids, err := vm.CheckExtension(kvm.CapMaxVCPUID)
	if err != nil {
		return err
	}
	if id := int(t.maxAPICID()); ids != 0 && id >= ids {
		return &LimitError{What: "as highest APIC id of topology " + t.String(), Want: id, Max: ids - 1}
	}
	return nil
}

// CPUs is the number of vCPUs.
func (g *Group) CPUs() int { return len(g.cpus) }

// APICID gives the APIC id of a vCPU, for tables that name processors.
func (g *Group) APICID(cpu int) uint32 { return g.topology.APICID(cpu) }

// Topology gives the arrangement, resolved.
func (g *Group) Topology() Topology { return g.topology }
