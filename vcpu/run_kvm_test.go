package vcpu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gureum/gureum/kvm"
)

// reports collects what a guest writes to reportPort until it writes to donePort.
type reports struct {
	mu     sync.Mutex
	values []uint32
	done   chan struct{}
}

func newReports() *reports { return &reports{done: make(chan struct{})} }

func (r *reports) bus() testBus {
	return testBus{write: func(port uint64, data []byte) {
		r.mu.Lock()
		defer r.mu.Unlock()
		switch port {
		case donePort:
			close(r.done)
		case reportPort:
			var b [4]byte
			copy(b[:], data)
			r.values = append(r.values, binary.LittleEndian.Uint32(b[:]))
		}
	}}
}

func (r *reports) wait(t *testing.T) []uint32 {
	t.Helper()
	within(t, 30*time.Second, "the guest", func() { <-r.done })
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.values)
}

func TestKVMEntryPVH(t *testing.T) {
	code := []byte{
		0xBC, 0x00, 0x80, 0x00, 0x00, // mov esp, 0x8000
		0x66, 0xBA, 0x00, 0x05, // mov dx, 0x500
		0x89, 0xD8, 0xEF, // mov eax, ebx; out dx, eax
		0x0F, 0x20, 0xC0, 0xEF, // mov eax, cr0; out dx, eax
		0x0F, 0x20, 0xE0, 0xEF, // mov eax, cr4; out dx, eax
		0x9C, 0x58, 0xEF, // pushfd; pop eax; out dx, eax
		0x8C, 0xC8, 0xEF, // mov eax, cs; out dx, eax
		0x8C, 0xD0, 0xEF, // mov eax, ss; out dx, eax
		0xB9, 0x1B, 0x00, 0x00, 0x00, 0x0F, 0x32, // mov ecx, IA32_APIC_BASE; rdmsr
		0x66, 0xBA, 0x00, 0x05, 0xEF, // mov dx, 0x500; out dx, eax
		0xB9, 0xFF, 0x02, 0x00, 0x00, 0x0F, 0x32, // mov ecx, MTRRdefType; rdmsr
		0x66, 0xBA, 0x00, 0x05, 0xEF,
		0xB9, 0x77, 0x02, 0x00, 0x00, 0x0F, 0x32, // mov ecx, PAT; rdmsr
		0x66, 0xBA, 0x00, 0x05, 0xEF,
		0xE6, 0x80, // out 0x80, al
		0xF4, 0xEB, 0xFD, // l: hlt; jmp l
	}
	r := newReports()
	g := newTestGuest(t, Config{PIO: r.bus()}, code)
	g.startPVH()
	// Bits 11 and 8 of the APIC base: enabled, boot CPU.
	want := []uint32{0x6000, 0x11, 0, 2, 0x10, 0x18, 0xFEE00900, 0x806, 0x00070406}
	if got := r.wait(t); !reflect.DeepEqual(got, want) {
		t.Errorf("guest sees %#x, want %#x", got, want)
	}
	mustDo(t, g.Stop())
}

func TestKVMEntryLinux64(t *testing.T) {
	code := []byte{
		0x66, 0xBA, 0x00, 0x05, // mov dx, 0x500
		0x48, 0x89, 0xF0, 0xEF, // mov rax, rsi; out dx, eax
		0x0F, 0x20, 0xC0, 0xEF, // mov rax, cr0; out dx, eax
		0x0F, 0x20, 0xD8, 0xEF, // mov rax, cr3; out dx, eax
		0x0F, 0x20, 0xE0, 0xEF, // mov rax, cr4; out dx, eax
		0x8C, 0xC8, 0xEF, // mov eax, cs; out dx, eax
		0x8C, 0xD8, 0xEF, // mov eax, ds; out dx, eax
		0xBC, 0x00, 0x80, 0x00, 0x00, // mov esp, 0x8000
		0x9C, 0x58, 0xEF, // pushfq; pop rax; out dx, eax
		0xB9, 0x80, 0x00, 0x00, 0xC0, 0x0F, 0x32, // mov ecx, EFER; rdmsr
		0x66, 0xBA, 0x00, 0x05, 0xEF, // mov dx, 0x500; out dx, eax
		0xE6, 0x80, // out 0x80, al
		0xF4, 0xEB, 0xFD, // l: hlt; jmp l
	}
	r := newReports()
	g := newTestGuest(t, Config{PIO: r.bus()}, code)
	e := Entry{Mode: EntryLinux64, IP: guestCode, Arg: 0x7000, PageTable: guestTables, GDT: guestGDT}
	mustDo(t, g.SetEntry(e), g.Start())
	want := []uint32{0x7000, 0x80000011, guestTables, 0x20, 0x10, 0x18, 2, 0x500}
	if got := r.wait(t); !reflect.DeepEqual(got, want) {
		t.Errorf("guest sees %#x, want %#x", got, want)
	}
	mustDo(t, g.Stop())
}

func TestKVMStringIO(t *testing.T) {
	code := []byte{
		0xFC,                         // cld
		0xBE, 0x00, 0x30, 0x00, 0x00, // mov esi, 0x3000
		0x66, 0xBA, 0x00, 0x05, // mov dx, 0x500
		0xB9, 0x05, 0x00, 0x00, 0x00, // mov ecx, 5
		0xF3, 0x6E, // rep outsb
		0xBF, 0x00, 0x31, 0x00, 0x00, // mov edi, 0x3100
		0x66, 0xBA, 0x02, 0x05, // mov dx, 0x502
		0xB9, 0x03, 0x00, 0x00, 0x00, // mov ecx, 3
		0x66, 0xF3, 0x6D, // rep insw
		0xE6, 0x80, // out 0x80, al
		0xF4, 0xEB, 0xFD, // l: hlt; jmp l
	}
	r := newReports()
	bus := r.bus()
	n := uint16(0xA000)
	bus.read = func(port uint64, data []byte) {
		if port != 0x502 || len(data) != 2 {
			t.Errorf("read of %d bytes from port %#x", len(data), port)
			return
		}
		n++
		binary.LittleEndian.PutUint16(data, n)
	}
	g := newTestGuest(t, Config{PIO: bus}, code)
	copy(g.ram[0x3000:], "hello")
	g.startPVH()
	if got, want := r.wait(t), []uint32{'h', 'e', 'l', 'l', 'o'}; !reflect.DeepEqual(got, want) {
		t.Errorf("written %#x, want %#x", got, want)
	}
	mustDo(t, g.Stop())
	if got := g.ram[0x3100:0x3106]; !bytes.Equal(got, []byte{0x01, 0xA0, 0x02, 0xA0, 0x03, 0xA0}) {
		t.Errorf("read % x", got)
	}
}

// TestKVMStartAPs wakes all other CPUs by INIT and SIPI; each tells its APIC id.
func TestKVMStartAPs(t *testing.T) {
	ap := []byte{
		0x66, 0xB8, 0x01, 0x00, 0x00, 0x00, 0x0F, 0xA2, // mov eax, 1; cpuid
		0x66, 0xC1, 0xEB, 0x18, 0x88, 0xD8, // shr ebx, 24; mov al, bl
		0xBA, 0x00, 0x05, 0xEE, // mov dx, 0x500; out dx, al
		0xFA, 0xF4, 0xEB, 0xFC, // l: cli; hlt; jmp l
	}
	for _, topo := range []Topology{{1, 4, 1}, {2, 3, 1}} {
		n := topo.Sockets * topo.Cores
		ids := make(chan byte, n)
		g := newTestGuest(t, Config{CPUs: n, Topology: topo, PIO: testBus{write: func(_ uint64, data []byte) {
			ids <- data[0]
		}}}, codeWake)
		copy(g.ram[guestAPCode:], ap)
		g.startPVH()
		var got []byte
		within(t, 30*time.Second, "the APs", func() {
			for range n - 1 {
				got = append(got, <-ids)
			}
		})
		slices.Sort(got)
		var want []byte
		for cpu := 1; cpu < n; cpu++ {
			want = append(want, byte(topo.APICID(cpu)))
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%v: APs %d, want %d", topo, got, want)
		}
		mustDo(t, g.Stop())
	}
}

func TestKVMTripleFault(t *testing.T) {
	stops := make(chan Stop, 1)
	g := newTestGuest(t, Config{CPUs: 2, OnStop: func(s Stop) { stops <- s }}, codeUD)
	g.startPVH()
	within(t, 30*time.Second, "wait", g.Wait)
	s := <-stops
	var exit *ExitError
	if s.Kind != KindTripleFault || s.CPU != 0 || !errors.As(s.Err, &exit) {
		t.Fatalf("%+v", s)
	}
	text := exit.Dump()
	t.Log(text)
	if !exit.Registers.atReset() && !strings.Contains(text, "ud2") {
		t.Error("the instruction is missing")
	}
	var b bytes.Buffer
	mustDo(t, g.Dump(&b))
	if !strings.Contains(b.String(), "waits for INIT") {
		t.Errorf("no word of the AP:\n%s", b.String())
	}
}

func TestKVMDump(t *testing.T) {
	g := newTestGuest(t, Config{}, codeBusy)
	g.startPVH()
	for g.counter() == 0 {
		time.Sleep(time.Millisecond)
	}
	var b bytes.Buffer
	mustDo(t, g.Dump(&b))
	if s := b.String(); !strings.Contains(s, "32 bit, cpl 0, runnable") || !strings.Contains(s, "inc dword ptr") && !strings.Contains(s, "jmp") {
		t.Errorf("dump:\n%s", s)
	}
	before := g.counter()
	for deadline := time.Now().Add(10 * time.Second); g.counter() == before; {
		if time.Now().After(deadline) {
			t.Fatal("the guest stands still after the dump")
		}
		time.Sleep(time.Millisecond)
	}
	mustDo(t, g.Stop())
}

// TestKVMPauseUnderLoad pauses and resumes guests that compute, that exit all the time, and
// that sleep, all the while holding them to what a pause means.
func TestKVMPauseUnderLoad(t *testing.T) {
	tests := []struct {
		name   string
		code   []byte
		cpus   int
		cycles int
	}{
		{"computing", codeBusy, 1, 1000},
		{"ports", codePIO, 1, 1000},
		{"memory", codeMMIO, 1, 1000},
		{"halted", codeHalt, 1, 1000},
		{"with waiting APs", codeBusy, 3, 300},
		{"ports on all CPUs", codeWake, 4, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var accesses atomic.Uint64
			count := func(uint64, []byte) { accesses.Add(1) }
			g := newTestGuest(t, Config{CPUs: tt.cpus, PIO: testBus{count, count}, MMIO: testBus{count, count}}, tt.code)
			copy(g.ram[guestAPCode:], codeAPPorts)
			g.startPVH()
			cycles := tt.cycles
			sum := func() uint64 { return uint64(g.counter()) + accesses.Load() }
			start := time.Now()
			var slowest time.Duration
			for i := range cycles {
				began := time.Now()
				within(t, 30*time.Second, "pause", func() {
					if err := g.Pause(); err != nil {
						t.Error(err)
					}
				})
				slowest = max(slowest, time.Since(began))
				before := sum()
				if i%64 == 0 {
					time.Sleep(time.Millisecond)
				}
				if after := sum(); after != before {
					t.Fatalf("cycle %d: the guest ran while it was paused", i)
				}
				mustDo(t, g.Resume())
				if i%128 == 0 && tt.name != "halted" {
					waitFor(t, func() bool { return sum() > before })
				}
			}
			t.Logf("%d cycles in %v, slowest pause %v", cycles, time.Since(start), slowest)
			var interrupted uint64
			for _, k := range g.Counters() {
				interrupted += k.Interrupted
			}
			// One return a kick, a late signal of the kick before now and then, and the odd
			// signal of the runtime: nobody spins.
			if most := uint64(tt.cpus) * uint64(3*cycles+1000); interrupted > most {
				t.Errorf("%d interruptions for %d cycles", interrupted, cycles)
			}
			within(t, 30*time.Second, "stop", func() { _ = g.Stop() })
		})
	}
}

func waitFor(t *testing.T, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); {
		if time.Now().After(deadline) {
			t.Fatal("the guest stands still")
		}
		runtime.Gosched()
	}
}

// TestKVMExitsDoNotAllocate runs real exits through the loop's body.
func TestKVMExitsDoNotAllocate(t *testing.T) {
	for name, code := range map[string][]byte{"ports": codePIO, "memory": codeMMIO} {
		t.Run(name, func(t *testing.T) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			g := newTestGuest(t, Config{PIO: quietBus{}, MMIO: quietBus{}}, code)
			mustDo(t, g.SetEntry(Entry{IP: guestCode}))
			c := g.cpus[0]
			exits := 0
			n := testing.AllocsPerRun(5000, func() {
				if err := c.m.Run(); err == nil {
					exits++
					if kind := c.dispatch(); kind != KindNone {
						t.Errorf("%v", c.died(kind, nil).Err)
					}
				}
			})
			if n != 0 || exits < 4000 {
				t.Errorf("%v allocations an exit, %d exits", n, exits)
			}
		})
	}
}

// TestKVMStateAfterNew looks at what no guest tells.
func TestKVMStateAfterNew(t *testing.T) {
	g := newTestGuest(t, Config{CPUs: 2}, nil)
	for i, c := range g.cpus {
		x, err := c.vcpu.XSave()
		mustDo(t, err)
		fcw, mxcsr := binary.LittleEndian.Uint16(x), binary.LittleEndian.Uint32(x[24:])
		if fcw != 0x37F || mxcsr != 0x1F80 {
			t.Errorf("vcpu %d: fcw %#x, mxcsr %#x", i, fcw, mxcsr)
		}
		l, err := c.vcpu.LAPIC()
		mustDo(t, err)
		lint0 := binary.LittleEndian.Uint32(l.Regs[lapicLINT0:])
		lint1 := binary.LittleEndian.Uint32(l.Regs[lapicLINT1:])
		if lint0 != []uint32{lvtExtINT, lvtMasked}[i] || lint1 != lvtNMI {
			t.Errorf("vcpu %d: LINT0 %#x, LINT1 %#x", i, lint0, lint1)
		}
		mp, err := c.vcpu.MPState()
		mustDo(t, err)
		if mp != []kvm.MPState{kvm.MPRunnable, kvm.MPUninitialized}[i] {
			t.Errorf("vcpu %d: MP state %v", i, mp)
		}
		misc := []kvm.MSREntry{{Index: msrMiscEnable}}
		if _, err := c.vcpu.MSRs(misc); err != nil || misc[0].Data&miscFastStrings == 0 {
			t.Errorf("vcpu %d: IA32_MISC_ENABLE %#x, %v", i, misc[0].Data, err)
		}
		cpuid, err := c.vcpu.CPUID2()
		mustDo(t, err)
		if id := leaf(cpuid, leafTopology, 1).EDX; id != uint32(i) {
			t.Errorf("vcpu %d: leaf 0xB has APIC id %d", i, id)
		}
	}
}

// TestKVMManyCPUs: APIC ids that only x2APIC mode can have.
func TestKVMManyCPUs(t *testing.T) {
	g := newTestGuest(t, Config{CPUs: 300}, codeBusy)
	s, err := g.cpus[299].vcpu.Sregs()
	mustDo(t, err)
	if s.ApicBase&apicBaseX2APIC == 0 {
		t.Errorf("APIC base %#x is not in x2APIC mode", s.ApicBase)
	}
	l, err := g.cpus[299].vcpu.LAPIC()
	mustDo(t, err)
	if id := binary.LittleEndian.Uint32(l.Regs[0x20:]); id != 299 {
		t.Errorf("LAPIC has id %d", id)
	}
	g.startPVH()
	waitFor(t, func() bool { return g.counter() > 0 })
	mustDo(t, g.Pause(), g.Resume(), g.Stop())
}

func TestKVMTooManyCPUs(t *testing.T) {
	g := newTestGuest(t, Config{}, nil)
	var limit *LimitError
	for _, cfg := range []Config{
		{CPUs: 1 << 20, PIO: quietBus{}, MMIO: quietBus{}},
		{CPUs: 1023, Topology: Topology{Sockets: 341, Cores: 3}, PIO: quietBus{}, MMIO: quietBus{}},
	} {
		_, err := New(g.sys, g.vm, cfg)
		if cfg.CPUs > 4096 && !errors.As(err, &limit) {
			t.Errorf("%d CPUs: %v, want a LimitError", cfg.CPUs, err)
		}
	}
	for _, cfg := range []Config{{}, {CPUs: 1}, {CPUs: -1, PIO: quietBus{}, MMIO: quietBus{}}} {
		if _, err := New(g.sys, g.vm, cfg); err == nil {
			t.Errorf("%+v: no error", cfg)
		}
	}
}

// BenchmarkKVMExit is the price of an exit to user space and back, handler apart.
func BenchmarkKVMExit(b *testing.B) {
	for _, bench := range []struct {
		name string
		code []byte
	}{{"port", codePIO}, {"memory", codeMMIO}} {
		b.Run(bench.name, func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			g := newTestGuest(b, Config{PIO: quietBus{}, MMIO: quietBus{}}, bench.code)
			mustDo(b, g.SetEntry(Entry{IP: guestCode}))
			c := g.cpus[0]
			b.ReportAllocs()
			for b.Loop() {
				if err := c.m.Run(); err == nil {
					c.dispatch()
				}
			}
		})
	}
}
