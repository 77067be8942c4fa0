package vm

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/kvm"
	"github.com/gureum/gureum/vcpu"
	"github.com/gureum/gureum/virtio/balloon"
	"github.com/gureum/gureum/virtio/blk"
	virtionet "github.com/gureum/gureum/virtio/net"
)

// Machine is one virtual machine in this process. Its methods may be called
// from any goroutine.
type Machine struct {
	config   Config
	image    *image
	entry    vcpu.Entry
	system   *kvm.System
	kvm      *kvm.VM
	memory   *memory.Memory
	cpus     *vcpu.Group
	platform *platform
	virtio   virtioSet
	balloon  *balloon.Device // nil for none
	console  virtioConsole
	nics     []*virtionet.Device
	vsock    guestVsock
	disks    []*blk.Device

	mu       sync.Mutex
	state    State
	maps     *os.File      // /proc/self/maps, for trim
	trim     *time.Timer   // of a machine that was started
	ended    chan Outcome  // of capacity 1: the first end that was asked for
	stopped  chan struct{} // closed when the machine is Stopped
	outcome  Outcome       // valid once stopped is closed
	closeErr error
	closed   sync.Once
}

// New builds a machine up to the point where its first instruction could run.
//
// It checks everything that the user gave before it looks at the host: errors
// are *InputError, then *HostError. What a failed New had made is gone again.
func New(config Config) (*Machine, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	image, err := openImage(&config)
	if err != nil {
		return nil, err
	}
	m := &Machine{
		config:  config,
		image:   image,
		ended:   make(chan Outcome, 1),
		stopped: make(chan struct{}),
	}
	m.console.sink = newConsoleSink(config.Console)
	if m.maps, err = os.Open("/proc/self/maps"); err != nil {
		return nil, errors.Join(hostErrorf("%w: is /proc mounted?", err), m.release())
	}
	if err := m.build(); err != nil {
		return nil, errors.Join(err, m.release())
	}
	return m, nil
}

// build makes the parts in the order in which they need each other. Memory is
// filled before KVM is opened, as what the user gave may turn out not to fit.
func (m *Machine) build() error {
	steps := []func() error{
		hugePagesFromHere, m.reserveMemory, m.createDevices, m.load, m.openKVM, m.attachMemory, m.createIRQChips,
		m.createPlatform, m.attachDevices, m.createCPUs,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (m *Machine) openKVM() error {
	if err := CheckHost(m.config.KVM); err != nil {
		return err
	}
	var err error
	if m.system, err = kvm.Open(m.config.KVM); err != nil {
		return &HostError{err}
	}
	limit, err := m.system.CheckExtension(kvm.CapMaxVCPUs)
	if err != nil {
		return &HostError{err}
	}
	if m.config.CPUs > limit {
		return hostErrorf("cpus: %d: this host's KVM gives a machine at most %d", m.config.CPUs, limit)
	}
	if m.kvm, err = m.system.CreateVM(); err != nil {
		return &HostError{err}
	}
	return nil
}

func (m *Machine) reserveMemory() error {
	var err error
	if m.memory, err = memory.New(m.config.memoryConfig()); err != nil {
		return &HostError{err}
	}
	return nil
}

// attachMemory shows guest RAM to KVM.
func (m *Machine) attachMemory() error {
	for slot, r := range m.memory.Regions() {
		err := m.kvm.SetMemoryRegion(kvm.MemoryRegion{Slot: uint32(slot), GPA: r.GPA, Size: r.Size, HostAddr: r.Host})
		if err == nil {
			continue
		}
		if bits := m.addressBits(); r.GPA+r.Size > 1<<bits {
			return hostErrorf("memory: %s: this host's CPUs address %d bits, which is %s less what devices take: %w",
				FormatSize(m.config.Memory), bits, FormatSize(1<<bits), err)
		}
		return hostErrorf("give %s of memory at %#x to KVM: %w", FormatSize(r.Size), r.GPA, err)
	}
	return nil
}

// addressBits is the width of a guest physical address (CPUID leaf 0x80000008,
// EAX bits 0 to 7), 63 if KVM does not tell.
func (m *Machine) addressBits() uint32 {
	entries, err := m.system.SupportedCPUID()
	if err != nil {
		return 63
	}
	for _, e := range entries {
		if bits := e.EAX & 0xFF; e.Function == 0x80000008 && bits != 0 {
			return min(bits, 63)
		}
	}
	return 63
}

// createIRQChips makes KVM's own interrupt controllers and timer, and reserves
// the pages that VT-x without unrestricted guest mode wants.
func (m *Machine) createIRQChips() error {
	if err := m.kvm.SetIdentityMapAddr(memory.IdentityMapPage); err != nil {
		return &HostError{err}
	}
	if err := m.kvm.SetTSSAddr(memory.TSSPages); err != nil {
		return &HostError{err}
	}
	if err := m.kvm.CreateIRQChip(); err != nil {
		return &HostError{err}
	}
	if err := maskPICs(m.kvm); err != nil {
		return &HostError{err}
	}
	if err := m.kvm.CreatePIT(true); err != nil {
		return &HostError{err}
	}
	return nil
}

func (m *Machine) createPlatform() error {
	var err error
	m.platform, err = newPlatform(m.kvm, m.console.sink, m.deviceEvent)
	if err == nil {
		m.console.serial = m.platform.consolePort
	}
	return err
}

// createCPUs makes the virtual CPUs and puts the first one at the kernel's entry.
func (m *Machine) createCPUs() error {
	var err error
	m.cpus, err = vcpu.New(m.system, m.kvm, vcpu.Config{
		CPUs:       m.config.CPUs,
		PIO:        m.platform.pio,
		MMIO:       m.platform.mmio,
		CodeReader: func(gpa uint64, p []byte) error { return m.memory.ReadAt(p, gpa) },
		OnStop:     m.cpuStopped,
		OnThread:   m.config.OnVCPUThread,
	})
	if err != nil {
		return &HostError{fmt.Errorf("create %d virtual CPUs: %w", m.config.CPUs, err)}
	}
	if err := m.cpus.SetEntry(m.entry); err != nil {
		return &HostError{err}
	}
	return nil
}

// load puts the guest into memory and says how its first CPU enters it.
func (m *Machine) load() error {
	var err error
	if m.entry, err = m.image.load(m.memory, &m.config, m.virtio.layout); err != nil {
		return err
	}
	m.notify(EventKernelLoaded)
	return m.image.Close()
}

func (m *Machine) notify(e Event) {
	slog.Debug("stage", "name", m.config.Name, "stage", e.String())
	if m.config.OnEvent != nil {
		m.config.OnEvent(e)
	}
}

// Close ends the machine if it runs and frees all that it holds.
func (m *Machine) Close() error {
	m.Kill()
	m.mu.Lock()
	if m.state == Created {
		m.state = Stopped
		m.outcome = <-m.ended
		close(m.stopped)
	}
	m.mu.Unlock()
	<-m.stopped
	m.closed.Do(func() { m.closeErr = m.release() })
	return m.closeErr
}

// release frees the parts, the last one first. A part that was never made is
// nil.
func (m *Machine) release() error {
	var errs []error
	if m.cpus != nil {
		errs = append(errs, m.cpus.Close())
	}
	errs = append(errs, m.virtio.Close())
	if m.platform != nil {
		errs = append(errs, m.platform.Close())
	}
	if m.kvm != nil {
		errs = append(errs, m.kvm.Close())
	}
	if m.system != nil {
		errs = append(errs, m.system.Close())
	}
	if m.memory != nil {
		errs = append(errs, m.memory.Close())
	}
	if m.maps != nil {
		errs = append(errs, m.maps.Close())
	}
	return errors.Join(append(errs, m.image.Close())...)
}
