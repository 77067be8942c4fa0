package vcpu

import (
	"fmt"
	"strings"

	"github.com/gureum/gureum/kvm"
)

// maxInstruction is the longest instruction of an x86 processor, in bytes.
const maxInstruction = 15

const guestPage = 4096

// Registers is what a person wants to see of a vCPU. Err says what could not be read.
type Registers struct {
	Regs  kvm.Regs
	Sregs kvm.Sregs
	MP    kvm.MPState
	Err   error

	Code    []byte // from the instruction on, as far as it could be read; may be empty
	CodeErr error  // why Code is short
}

// registers reads them, off the hot path, on the vCPU's thread or while it is paused.
func (c *cpu) registers() Registers {
	var r Registers
	if r.Regs, r.Err = c.m.Regs(); r.Err != nil {
		return r
	}
	if r.Sregs, r.Err = c.m.Sregs(); r.Err != nil {
		return r
	}
	if r.MP, r.Err = c.m.MPState(); r.Err != nil {
		return r
	}
	r.Code, r.CodeErr = c.readCode(r.linearIP(), maxInstruction)
	return r
}

// readCode reads guest memory at a guest-virtual address, page by page through the guest's own
// page tables.
func (c *cpu) readCode(addr uint64, n int) ([]byte, error) {
	read := c.group.cfg.CodeReader
	if read == nil {
		return nil, nil
	}
	code := make([]byte, 0, n)
	for len(code) < n {
		at := addr + uint64(len(code))
		t, err := c.m.Translate(at)
		if err != nil {
			return code, err
		}
		if t.Valid == 0 {
			return code, fmt.Errorf("%#x is not mapped", at)
		}
		part := min(n-len(code), guestPage-int(at%guestPage))
		next := code[len(code) : len(code)+part]
		if err := read(t.PhysicalAddress, next); err != nil {
			return code, err
		}
		code = code[:len(code)+part]
	}
	return code, nil
}

// bits is the width of the code segment: 16, 32 or 64.
func (r *Registers) bits() int {
	switch {
	case r.Sregs.EFER&eferLMA != 0 && r.Sregs.CS.L != 0:
		return 64
	case r.Sregs.CS.DB != 0:
		return 32
	}
	return 16
}

func (r *Registers) linearIP() uint64 {
	if r.bits() == 64 {
		return r.Regs.RIP
	}
	return (r.Sregs.CS.Base + r.Regs.RIP) & 0xFFFFFFFF
}

// atReset tells if these are the values after reset or INIT. AMD's processors give them after
// a triple fault in place of those that led to it.
func (r *Registers) atReset() bool {
	return r.Regs.RIP == 0xFFF0 && r.Sregs.CS.Selector == 0xF000 && r.Sregs.CR0&cr0PE == 0
}

// where names the instruction in one line, or nothing if registers could not be read.
func (r *Registers) where() string {
	if r.Err != nil {
		return ""
	}
	at := fmt.Sprintf("%#x", r.Regs.RIP)
	if r.bits() != 64 {
		at = fmt.Sprintf("%#x:%#x", r.Sregs.CS.Selector, r.Regs.RIP)
	}
	if r.atReset() {
		return at + " (the processor has reset its registers)"
	}
	if len(r.Code) == 0 {
		return at
	}
	return fmt.Sprintf("%s: %s", at, disassemble(r.Code, r.bits(), r.Regs.RIP))
}

// write prints all of it, a line at a time with prefix.
func (r *Registers) write(b *strings.Builder, prefix string) {
	line := func(format string, args ...any) {
		b.WriteString(prefix)
		fmt.Fprintf(b, format, args...)
		b.WriteByte('\n')
	}
	if r.Err != nil {
		line("registers: %v", r.Err)
		return
	}
	g, s := &r.Regs, &r.Sregs
	line("rip %016x  rflags %016x  %d bit, cpl %d, %s", g.RIP, g.RFLAGS, r.bits(), s.SS.DPL, mpName(r.MP))
	line("rax %016x  rbx %016x  rcx %016x  rdx %016x", g.RAX, g.RBX, g.RCX, g.RDX)
	line("rsi %016x  rdi %016x  rbp %016x  rsp %016x", g.RSI, g.RDI, g.RBP, g.RSP)
	line("r8  %016x  r9  %016x  r10 %016x  r11 %016x", g.R8, g.R9, g.R10, g.R11)
	line("r12 %016x  r13 %016x  r14 %016x  r15 %016x", g.R12, g.R13, g.R14, g.R15)
	line("cr0 %016x  cr2 %016x  cr3 %016x  cr4 %016x", s.CR0, s.CR2, s.CR3, s.CR4)
	line("cr8 %016x  efer %016x  apic base %x", s.CR8, s.EFER, s.ApicBase)
	segments := []struct {
		name string
		s    *kvm.Segment
	}{
		{"cs", &s.CS},
		{"ds", &s.DS},
		{"es", &s.ES},
		{"fs", &s.FS},
		{"gs", &s.GS},
		{"ss", &s.SS},
		{"tr", &s.TR},
		{"ldt", &s.LDT},
	}
	for _, x := range segments {
		line("%-3s %04x  base %016x  limit %08x  %s", x.name, x.s.Selector, x.s.Base, x.s.Limit, segmentText(x.s))
	}
	line("gdt base %016x  limit %04x    idt base %016x  limit %04x", s.GDT.Base, s.GDT.Limit, s.IDT.Base, s.IDT.Limit)
	r.writeCode(line)
}

func (r *Registers) writeCode(line func(string, ...any)) {
	if len(r.Code) > 0 {
		line("code % x  %s", r.Code, disassemble(r.Code, r.bits(), r.Regs.RIP))
	}
	if r.CodeErr != nil {
		line("code: %v", r.CodeErr)
	}
}

func segmentText(s *kvm.Segment) string {
	if s.Unusable != 0 {
		return "unusable"
	}
	return fmt.Sprintf("type %x s %d dpl %d p %d db %d l %d g %d", s.Typ, s.S, s.DPL, s.Present, s.DB, s.L, s.G)
}

func mpName(s kvm.MPState) string {
	switch s {
	case kvm.MPRunnable:
		return "runnable"
	case kvm.MPUninitialized:
		return "waits for INIT"
	case kvm.MPInitReceived:
		return "waits for SIPI"
	case kvm.MPHalted:
		return "halted"
	case kvm.MPSIPIReceived:
		return "got SIPI"
	}
	return fmt.Sprintf("mp state %d", uint32(s))
}
