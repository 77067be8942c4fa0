package vcpu

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/gureum/gureum/kvm"
	"golang.org/x/sys/unix"
)

// oneExit runs the loop over a single exit, and then whatever ends it.
func oneCPU(t *testing.T, cfg Config, f *fakeMachine) *cpu {
	t.Helper()
	g, _ := fakeGroup(t, cfg, 1)
	g.cpus[0].m = f
	return g.cpus[0]
}

func TestPortIO(t *testing.T) {
	tests := []struct {
		name string
		io   kvm.IOExit
		want []access
		data string // afterwards
	}{
		{"out byte", kvm.IOExit{Port: 0x3F8, Size: 1, Count: 1, Data: []byte("A")}, []access{{true, 0x3F8, "A"}}, "A"},
		{"out long", kvm.IOExit{Port: 0x604, Size: 4, Count: 1, Data: []byte("ABCD")}, []access{{true, 0x604, "ABCD"}}, "ABCD"},
		{"in word", kvm.IOExit{In: true, Port: 0x60, Size: 2, Count: 1, Data: []byte("..")}, []access{{false, 0x60, "\x01\x00"}}, "\x01\x00"},
		{
			"rep outsb",
			kvm.IOExit{Port: 0x3F8, Size: 1, Count: 3, Data: []byte("ABC")},
			[]access{{true, 0x3F8, "A"}, {true, 0x3F8, "B"}, {true, 0x3F8, "C"}},
			"ABC",
		},
		{
			"rep insw",
			kvm.IOExit{In: true, Port: 0x1F0, Size: 2, Count: 2, Data: []byte("....")},
			[]access{{false, 0x1F0, "\x01\x00"}, {false, 0x1F0, "\x02\x00"}},
			"\x01\x00\x02\x00",
		},
		// What a sane kernel does not say.
		{"no size", kvm.IOExit{Size: 0, Count: 7}, nil, ""},
		{"no data", kvm.IOExit{Size: 4, Count: 1 << 30}, nil, ""},
		{"no count", kvm.IOExit{Size: 4}, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bus := &recorder{}
			c := oneCPU(t, Config{PIO: bus, MMIO: &recorder{}}, &fakeMachine{reason: kvm.ExitIO, io: tt.io})
			if kind := c.dispatch(); kind != KindNone {
				t.Errorf("kind %v", kind)
			}
			if !reflect.DeepEqual(bus.log, tt.want) {
				t.Errorf("accesses %v, want %v", bus.log, tt.want)
			}
			if string(tt.io.Data) != tt.data {
				t.Errorf("data %q, want %q", tt.io.Data, tt.data)
			}
		})
	}
}

func TestMMIO(t *testing.T) {
	bus := &recorder{}
	f := &fakeMachine{reason: kvm.ExitMMIO, mmio: kvm.MMIOExit{Addr: 0xD0000000, Write: true, Data: []byte("WXYZ")}}
	c := oneCPU(t, Config{PIO: &recorder{}, MMIO: bus}, f)
	c.dispatch()
	f.mmio = kvm.MMIOExit{Addr: 0xD0000008, Data: make([]byte, 8)}
	c.dispatch()
	want := []access{{true, 0xD0000000, "WXYZ"}, {false, 0xD0000008, "\x01\x00\x00\x00\x00\x00\x00\x00"}}
	if !reflect.DeepEqual(bus.log, want) {
		t.Errorf("accesses %v, want %v", bus.log, want)
	}
}

func TestExitKinds(t *testing.T) {
	tests := []struct {
		reason kvm.ExitReason
		set    func(*fakeMachine)
		kind   Kind
		text   string // part of the error
	}{
		{kvm.ExitShutdown, nil, KindTripleFault, "triple fault"},
		{kvm.ExitHLT, nil, KindHalt, "halt"},
		{kvm.ExitFailEntry, func(f *fakeMachine) { f.fail = kvm.FailEntry{Reason: 0x80000021, CPU: 3} }, KindFailEntry, "reason 0x80000021 on host CPU 3 (invalid guest state)"},
		{kvm.ExitFailEntry, func(f *fakeMachine) { f.fail = kvm.FailEntry{Reason: 1<<64 - 1} }, KindFailEntry, "invalid guest state"},
		{kvm.ExitFailEntry, func(f *fakeMachine) { f.fail = kvm.FailEntry{Reason: 7} }, KindFailEntry, "control field"},
		{kvm.ExitInternalError, func(f *fakeMachine) {
			f.intern = kvm.InternalError{SubError: kvm.InternalErrorEmulation, CodeLen: 2, Code: [15]byte{0x0F, 0x0B}}
		}, KindInternalError, "suberror 1 (instruction that KVM cannot emulate), at 0x0:0x10: ud2"},
		{kvm.ExitInternalError, func(f *fakeMachine) {
			f.intern = kvm.InternalError{SubError: 3, N: 2, Data: [16]uint64{5, 6}}
		}, KindInternalError, "suberror 3 (exit while an event was delivered), data [0x5 0x6]"},
		{kvm.ExitInternalError, func(f *fakeMachine) { f.intern.SubError = 2 }, KindInternalError, "simultaneous"},
		{kvm.ExitInternalError, func(f *fakeMachine) { f.intern.SubError = 4 }, KindInternalError, "did not expect"},
		{kvm.ExitSystemEvent, func(f *fakeMachine) { f.event.Type = kvm.SystemEventReset }, KindReset, "type 2"},
		{kvm.ExitSystemEvent, func(f *fakeMachine) { f.event.Type = kvm.SystemEventShutdown }, KindShutdown, "type 1"},
		{kvm.ExitSystemEvent, func(f *fakeMachine) { f.event.Type = kvm.SystemEventCrash }, KindCrash, "type 3"},
		{kvm.ExitSystemEvent, func(f *fakeMachine) { f.event = kvm.SystemEvent{Type: 9, N: 1} }, KindSystemEvent, "type 9, data [0x0]"},
		{kvm.ExitDebug, nil, KindDebug, "vector 3 at 0x99"},
		{kvm.ExitUnknown, nil, KindUnexpected, "hardware reason 0x1234"},
		{kvm.ExitException, nil, KindUnexpected, "exception"},
		{kvm.ExitDirtyRingFull, nil, KindUnexpected, "dirty-ring-full"},
		{kvm.ExitIOAPICEOI, nil, KindUnexpected, "vector 49"},
		{kvm.ExitHyperV, nil, KindUnexpected, "hyperv"},
		{kvm.ExitXen, nil, KindUnexpected, "xen"},
		{kvm.ExitTDX, nil, KindUnexpected, "tdx"},
		{kvm.ExitNotify, func(f *fakeMachine) { f.notify = kvm.NotifyContextInvalid }, KindUnexpected, "state is lost"},
		{kvm.ExitReason(4711), nil, KindUnexpected, "4711"},
		{kvm.ExitNotify, nil, KindNone, ""},
		{kvm.ExitIRQWindowOpen, nil, KindNone, ""},
		{kvm.ExitSetTPR, nil, KindNone, ""},
		{kvm.ExitTPRAccess, nil, KindNone, ""},
		{kvm.ExitBusLock, nil, KindNone, ""},
		{kvm.ExitIntr, nil, KindNone, ""},
		{kvm.ExitNMI, nil, KindNone, ""},
		{kvm.ExitRDMSR, nil, KindNone, ""},
		{kvm.ExitWRMSR, nil, KindNone, ""},
		{kvm.ExitHypercall, nil, KindNone, ""},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%v %v", tt.reason, tt.kind), func(t *testing.T) {
			f := &fakeMachine{reason: tt.reason, regs: kvm.Regs{RIP: 0x10}}
			if tt.set != nil {
				tt.set(f)
			}
			c := oneCPU(t, Config{}, f)
			kind := c.dispatch()
			if kind != tt.kind {
				t.Fatalf("kind %v, want %v", kind, tt.kind)
			}
			k := c.counters()
			if k.Exits(tt.reason) != 1 || k.Total() != 1 {
				t.Errorf("counted %d of %d", k.Exits(tt.reason), k.Total())
			}
			if kind == KindNone {
				return
			}
			stop := c.died(kind, nil)
			var exit *ExitError
			if !errors.As(stop.Err, &exit) || stop.Kind != kind || exit.Reason != tt.reason {
				t.Fatalf("%+v", stop)
			}
			if !strings.Contains(stop.Err.Error(), tt.text) {
				t.Errorf("%q lacks %q", stop.Err, tt.text)
			}
			if dump := exit.Dump(); !strings.Contains(dump, "rip 0000000000000010") {
				t.Errorf("dump:\n%s", dump)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	f := &fakeMachine{reason: kvm.ExitRDMSR}
	c := oneCPU(t, Config{}, f)
	c.dispatch()
	if f.msr == nil || !*f.msr {
		t.Error("an unknown MSR did not fault")
	}
	f.reason = kvm.ExitHypercall
	c.dispatch()
	if int64(f.hyper) != -1000 {
		t.Errorf("hypercall gives %d, want -KVM_ENOSYS", int64(f.hyper))
	}
}

func TestRunErrors(t *testing.T) {
	tests := []struct {
		err    error
		reason kvm.ExitReason
		kind   Kind
		text   string
	}{
		{fmt.Errorf("KVM_RUN: %w", unix.EFAULT), kvm.ExitMemoryFault, KindMemoryFault, "4096 bytes at gpa 0x5000"},
		{fmt.Errorf("KVM_RUN: %w", unix.EFAULT), kvm.ExitUnknown, KindMemoryFault, "bad address"},
		{fmt.Errorf("KVM_RUN: %w", unix.EIO), kvm.ExitUnknown, KindRunFailed, "input/output error"},
	}
	for _, tt := range tests {
		f := &fakeMachine{reason: tt.reason, next: func() error { return tt.err }}
		stop := oneCPU(t, Config{}, f).loop()
		if stop == nil || stop.Kind != tt.kind || !errors.Is(stop.Err, tt.err) || !strings.Contains(stop.Err.Error(), tt.text) {
			t.Errorf("%v: %+v", tt.err, stop)
		}
	}
}

func TestInterruptedIsNoExit(t *testing.T) {
	n := 0
	f := &fakeMachine{reason: kvm.ExitShutdown, next: func() error {
		if n++; n <= 5 {
			return kvm.ErrInterrupted
		}
		return nil
	}}
	c := oneCPU(t, Config{}, f)
	if stop := c.loop(); stop.Kind != KindTripleFault {
		t.Errorf("kind %v", stop.Kind)
	}
	if k := c.counters(); k.Interrupted != 5 || k.Total() != 1 {
		t.Errorf("%d interrupted, %d exits", k.Interrupted, k.Total())
	}
}

func TestDispatchDoesNotAllocate(t *testing.T) {
	f := &fakeMachine{}
	c := oneCPU(t, Config{PIO: quietBus{}, MMIO: quietBus{}}, f)
	data := make([]byte, 8)
	for _, reason := range []kvm.ExitReason{kvm.ExitIO, kvm.ExitMMIO, kvm.ExitBusLock} {
		f.reason = reason
		f.mmio = kvm.MMIOExit{Addr: 1 << 33, Data: data}
		for _, count := range []int{1, 4} {
			f.io = kvm.IOExit{In: true, Port: 0x60, Size: 2, Count: count, Data: data}
			if n := testing.AllocsPerRun(1000, func() { c.dispatch() }); n != 0 {
				t.Errorf("%v: %v allocations", reason, n)
			}
		}
	}
}

type quietBus struct{}

func (quietBus) Read(_ uint64, data []byte) { clear(data) }
func (quietBus) Write(uint64, []byte)       {}

func BenchmarkDispatch(b *testing.B) {
	f := &fakeMachine{reason: kvm.ExitIO, io: kvm.IOExit{Port: 0x60, Size: 1, Count: 1, Data: make([]byte, 1)}}
	g := newGroup(Config{PIO: quietBus{}, MMIO: quietBus{}})
	c := &cpu{group: g, m: f}
	b.ReportAllocs()
	for b.Loop() {
		c.dispatch()
	}
}
