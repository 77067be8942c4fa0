package vcpu

import (
	"errors"
	"fmt"

	"github.com/gureum/gureum/kvm"
)

// EntryMode is a boot protocol.
type EntryMode int

// The boot protocols.
const (
	// EntryPVH enters in 32-bit protected mode without paging, RBX holding the address of
	// struct hvm_start_info (Xen docs/misc/pvh.pandoc; Linux
	// include/xen/interface/hvm/start_info.h).
	EntryPVH EntryMode = iota
	// EntryLinux64 enters in 64-bit mode with an identity map, RSI holding the address of the
	// zero page (Linux Documentation/arch/x86/boot.rst, "64-bit Boot Protocol").
	EntryLinux64
)

func (m EntryMode) String() string {
	switch m {
	case EntryPVH:
		return "PVH"
	case EntryLinux64:
		return "Linux 64-bit"
	}
	return fmt.Sprintf("entry mode %d", int(m))
}

// Entry says where and how the boot CPU enters the kernel. The others wait for INIT and SIPI.
// All addresses are guest-physical.
type Entry struct {
	Mode EntryMode
	IP   uint64 // first instruction
	Arg  uint64 // hvm_start_info or zero page

	PageTable uint64 // EntryLinux64: root of the identity map, page aligned
	// GDT is a table with a flat code segment at 0x10 and a flat data segment at 0x18, the only
	// segments in use. EntryPVH does without: 0.
	GDT uint64
}

// Control register bits (Intel SDM volume 3, 2.5).
const (
	cr0PE   = 1 << 0
	cr0ET   = 1 << 4
	cr0PG   = 1 << 31
	cr4PAE  = 1 << 5
	eferLME = 1 << 8
	eferLMA = 1 << 10

	rflagsReserved = 1 << 1 // always set
)

const (
	bootCS = 0x10
	bootDS = 0x18

	// gdtLimit covers the entries up to that of bootDS.
	gdtLimit = bootDS + 8 - 1

	segmentData      = 3  // read, write, accessed
	segmentCode      = 11 // execute, read, accessed
	segmentTSSBusy   = 11 // 32-bit or 64-bit TSS in use; a system segment
	tssLimit         = 0x67
	maxIP32          = 1<<32 - 1
	pageTableAligned = 0xFFF
)

func (e *Entry) check() error {
	switch e.Mode {
	case EntryPVH:
		if e.IP > maxIP32 || e.Arg > maxIP32 {
			return fmt.Errorf("PVH entry %#x with start info %#x: both must lie below 4 GiB", e.IP, e.Arg)
		}
	case EntryLinux64:
		if e.PageTable == 0 || e.PageTable&pageTableAligned != 0 {
			return fmt.Errorf("64-bit entry with page table at %#x: want a page address", e.PageTable)
		}
		if e.GDT == 0 {
			return errors.New("64-bit entry without a GDT")
		}
	default:
		return fmt.Errorf("unknown %v", e.Mode)
	}
	return nil
}

// apply puts the state into a vCPU's registers as they are after reset.
func (e *Entry) apply(r *kvm.Regs, s *kvm.Sregs) {
	*r = kvm.Regs{RIP: e.IP, RFLAGS: rflagsReserved}
	s.CR2, s.CR3, s.CR4, s.EFER = 0, 0, 0, 0
	s.GDT = kvm.Descriptor{Base: e.GDT}
	s.IDT = kvm.Descriptor{}
	if e.GDT != 0 {
		s.GDT.Limit = gdtLimit
	}
	code := kvm.Segment{
		Limit: 0xFFFFFFFF, Selector: bootCS, Typ: segmentCode,
		Present: 1, DB: 1, S: 1, G: 1,
	}
	s.CR0 = cr0PE | cr0ET
	if e.Mode == EntryLinux64 {
		r.RSI = e.Arg
		s.CR0 |= cr0PG
		s.CR3 = e.PageTable
		s.CR4 = cr4PAE
		s.EFER = eferLME | eferLMA
		code.DB, code.L = 0, 1
	} else {
		r.RBX = e.Arg
	}
	data := kvm.Segment{
		Limit: 0xFFFFFFFF, Selector: bootDS, Typ: segmentData,
		Present: 1, DB: 1, S: 1, G: 1,
	}
	s.CS = code
	s.DS, s.ES, s.FS, s.GS, s.SS = data, data, data, data, data
	s.TR = kvm.Segment{Limit: tssLimit, Typ: segmentTSSBusy, Present: 1}
	s.LDT = kvm.Segment{Unusable: 1}
}
