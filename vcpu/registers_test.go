package vcpu

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/gureum/gureum/kvm"
)

func long64(rip uint64) (kvm.Regs, kvm.Sregs) {
	return kvm.Regs{RIP: rip}, kvm.Sregs{EFER: eferLMA | eferLME, CR0: cr0PE | cr0PG, CS: kvm.Segment{L: 1, Base: 0x77}}
}

func TestReadCode(t *testing.T) {
	memory := bytes.Repeat([]byte{0x90}, 3*guestPage)
	copy(memory[guestPage-2:], []byte{0x48, 0x0F, 0xC7}) // cmpxchg16b [rdi], over a page's end
	memory[guestPage+1] = 0x0F
	memory[2*guestPage] = 0
	// Virtual 0x40000000 is gpa 0, the next page is gpa 0x2000.
	copy(memory[2*guestPage:], []byte{0xC7, 0x0F})
	mapped := func(addr uint64) (uint64, bool) {
		switch addr &^ 0xFFF {
		case 0x40000000:
			return addr & 0xFFF, true
		case 0x40001000:
			return 0x2000 + addr&0xFFF, true
		}
		return 0, false
	}
	reader := func(gpa uint64, p []byte) error {
		if gpa+uint64(len(p)) > uint64(len(memory)) {
			return errors.New("beyond memory")
		}
		copy(p, memory[gpa:])
		return nil
	}
	tests := []struct {
		name  string
		rip   uint64
		f     func(uint64) (uint64, bool)
		code  int
		where string
	}{
		{"two pages", 0x40000FFE, mapped, maxInstruction, "cmpxchg16b"},
		{"end of the mapping", 0x40001FFC, mapped, 4, "nop"},
		{"not mapped", 0x50000000, mapped, 0, "0x50000000"},
		{"mapped to nowhere", 0x40000000, func(uint64) (uint64, bool) { return 1 << 40, true }, 0, "0x40000000"},
		{"last address", 1<<64 - 2, func(uint64) (uint64, bool) { return 0, true }, maxInstruction, "nop"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakeMachine{mapped: tt.f}
			f.regs, f.sregs = long64(tt.rip)
			c := oneCPU(t, Config{CodeReader: reader}, f)
			r := c.registers()
			if len(r.Code) != tt.code {
				t.Errorf("%d bytes (%v), want %d", len(r.Code), r.CodeErr, tt.code)
			}
			if (r.CodeErr == nil) != (tt.code == maxInstruction) {
				t.Errorf("code error: %v", r.CodeErr)
			}
			if w := r.where(); !strings.Contains(w, tt.where) {
				t.Errorf("where: %q lacks %q", w, tt.where)
			}
		})
	}
}

func TestWhere(t *testing.T) {
	nop := func(_ uint64, p []byte) error {
		for i := range p {
			p[i] = 0x90
		}
		return nil
	}
	all := func(a uint64) (uint64, bool) { return a, true }
	tests := []struct {
		name  string
		regs  kvm.Regs
		sregs kvm.Sregs
		want  string
	}{
		{"16 bit", kvm.Regs{RIP: 0x10}, kvm.Sregs{CS: kvm.Segment{Selector: 0x9000, Base: 0x90000}}, "0x9000:0x10: nop"},
		{"32 bit", kvm.Regs{RIP: 0x100000}, kvm.Sregs{CR0: cr0PE, CS: kvm.Segment{Selector: 0x10, DB: 1}}, "0x10:0x100000: nop"},
		{"64 bit", kvm.Regs{RIP: 0xFFFFFFFF81000000}, kvm.Sregs{EFER: eferLMA, CS: kvm.Segment{L: 1}}, "0xffffffff81000000: nop"},
		{"32 bit in long mode", kvm.Regs{RIP: 0x2000}, kvm.Sregs{EFER: eferLMA, CS: kvm.Segment{Selector: 0x23, DB: 1}}, "0x23:0x2000: nop"},
		{"reset", kvm.Regs{RIP: 0xFFF0}, kvm.Sregs{CS: kvm.Segment{Selector: 0xF000, Base: 0xFFFF0000}}, "0xf000:0xfff0 (the processor has reset its registers)"},
	}
	for _, tt := range tests {
		f := &fakeMachine{regs: tt.regs, sregs: tt.sregs, mapped: all}
		r := oneCPU(t, Config{CodeReader: nop}, f).registers()
		if got := r.where(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestRegistersUnreadable(t *testing.T) {
	f := &fakeMachine{reason: kvm.ExitShutdown, regsErr: errors.New("gone")}
	stop := oneCPU(t, Config{}, f).died(KindTripleFault, nil)
	if got := stop.Err.Error(); got != "vcpu 0: triple fault" {
		t.Errorf("%q", got)
	}
	var exit *ExitError
	if !errors.As(stop.Err, &exit) || !strings.Contains(exit.Dump(), "gone") {
		t.Errorf("%+v", exit)
	}
}

func TestDisassemble(t *testing.T) {
	tests := []struct {
		code []byte
		bits int
		want string
	}{
		{[]byte{0xF4}, 16, "hlt"},
		{[]byte{0x0F, 0x01, 0xC1}, 64, "(not decodable"}, // vmcall, which x86asm does not know
		{[]byte{0x0F, 0x22, 0xC0}, 64, "mov cr0, rax"},
		{[]byte{0xEE}, 32, "out dx, al"},
		{nil, 64, "(not decodable"},
		{[]byte{0x0F}, 64, "(not decodable"},
		{[]byte{0xFF, 0xFF, 0xFF}, 64, "(not decodable"},
	}
	for _, tt := range tests {
		if got := disassemble(tt.code, tt.bits, 0); !strings.HasPrefix(got, tt.want) {
			t.Errorf("% x: %q, want %q", tt.code, got, tt.want)
		}
	}
}

// FuzzDisassemble: the bytes are the guest's to choose.
func FuzzDisassemble(f *testing.F) {
	f.Add([]byte{0x0F, 0x0B}, uint8(2))
	f.Add([]byte{0x62, 0xF1, 0x7C, 0x48, 0x10, 0x00}, uint8(2))
	f.Add(bytes.Repeat([]byte{0x66}, 15), uint8(0))
	f.Fuzz(func(t *testing.T, code []byte, mode uint8) {
		if disassemble(code, []int{16, 32, 64}[mode%3], 0x1000) == "" {
			t.Error("no text")
		}
	})
}

func TestDumpOfFakes(t *testing.T) {
	g, machines := fakeGroup(t, Config{}, 2)
	machines[0].regs, machines[0].sregs = long64(0x1234)
	mustDo(t, g.Start())
	var b bytes.Buffer
	mustDo(t, g.Dump(&b))
	for _, want := range []string{"2 vcpus, running", "vcpu 1, APIC id 1", "rip 0000000000001234", "64 bit, cpl 0, runnable", "exits 0; interrupted"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if g.State() != StateRunning {
		t.Errorf("state %v after the dump", g.State())
	}
	mustDo(t, g.Stop(), g.Dump(&b), g.Close())
	if err := g.Dump(&b); err == nil {
		t.Error("dump of a closed group")
	}
}
