package kvm

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
)

// abiStruct pairs one of our structures with the kernel's. fields are "ours:theirs".
type abiStruct struct {
	c      string
	t      reflect.Type
	fields string
}

var abiStructs = []abiStruct{
	{"struct kvm_regs", reflect.TypeFor[Regs](), "RAX:rax RBX:rbx RCX:rcx RDX:rdx RSI:rsi RDI:rdi RSP:rsp RBP:rbp R8:r8 R9:r9 R10:r10 R11:r11 R12:r12 R13:r13 R14:r14 R15:r15 RIP:rip RFLAGS:rflags"},
	{"struct kvm_sregs", reflect.TypeFor[Sregs](), "CS:cs DS:ds ES:es FS:fs GS:gs SS:ss TR:tr LDT:ldt GDT:gdt IDT:idt CR0:cr0 CR2:cr2 CR3:cr3 CR4:cr4 CR8:cr8 EFER:efer ApicBase:apic_base InterruptBitmap:interrupt_bitmap"},
	{"struct kvm_segment", reflect.TypeFor[Segment](), "Base:base Limit:limit Selector:selector Typ:type Present:present DPL:dpl DB:db S:s L:l G:g AVL:avl Unusable:unusable"},
	{"struct kvm_dtable", reflect.TypeFor[Descriptor](), "Base:base Limit:limit"},
	{"struct kvm_lapic_state", reflect.TypeFor[LAPICState](), "Regs:regs"},
	{"struct kvm_clock_data", reflect.TypeFor[ClockData](), "Clock:clock Flags:flags Realtime:realtime HostTSC:host_tsc"},
	{"struct kvm_debugregs", reflect.TypeFor[DebugRegs](), "DB:db DR6:dr6 DR7:dr7 Flags:flags"},
	{"struct kvm_xcr", reflect.TypeFor[gokvm.XRC](), "XRC:xcr Value:value"},
	{"struct kvm_xcrs", reflect.TypeFor[XCRs](), "NrXRCS:nr_xcrs Flags:flags Registers:xcrs"},
	{"struct kvm_vcpu_events", reflect.TypeFor[VCPUEvents](), "E.Inject:exception.injected E.Nr:exception.nr E.HadErrorCode:exception.has_error_code E.Pending:exception.pending E.ErrorCode:exception.error_code I.Inject:interrupt.injected I.Nr:interrupt.nr I.Soft:interrupt.soft I.Shadow:interrupt.shadow N.Inject:nmi.injected N.Pending:nmi.pending N.Masked:nmi.masked SipiVector:sipi_vector Flags:flags S.SMM:smi.smm S.Pening:smi.pending S.SMMInsideNMI:smi.smm_inside_nmi S.LatchedInit:smi.latched_init TripleFault:triple_fault.pending ExceptionHasPayload:exception_has_payload ExceptionPayload:exception_payload"},
	{"struct kvm_translation", reflect.TypeFor[Translation](), "LinearAddress:linear_address PhysicalAddress:physical_address Valid:valid Writeable:writeable Usermode:usermode"},
	{"struct kvm_pit_state2", reflect.TypeFor[PITState](), "Channels:channels Flags:flags"},
	{"struct kvm_pit_channel_state", reflect.TypeFor[PITChannel](), "Count:count LatchedCount:latched_count CountLatched:count_latched StatusLatched:status_latched Status:status ReadState:read_state WriteState:write_state WriteLatch:write_latch RWMode:rw_mode Mode:mode BCD:bcd Gate:gate CountLoadTime:count_load_time"},
	{"struct kvm_irqchip", reflect.TypeFor[IRQChipState](), "ChipID:chip_id Chip:chip"},
	{"struct kvm_cpuid_entry2", reflect.TypeFor[CPUIDEntry](), "Function:function Index:index Flags:flags EAX:eax EBX:ebx ECX:ecx EDX:edx"},
	{"struct kvm_msr_entry", reflect.TypeFor[MSREntry](), "Index:index Data:data"},
	{"struct kvm_fpu", reflect.TypeFor[FPU](), "FPR:fpr FCW:fcw FSW:fsw FTW:ftwx LastOpcode:last_opcode LastIP:last_ip LastDP:last_dp XMM:xmm MXCSR:mxcsr"},
	{"struct kvm_mp_state", reflect.TypeFor[MPState](), ""},
	{"struct kvm_interrupt", reflect.TypeFor[uint32](), ""},
	{"struct kvm_irq_level", reflect.TypeFor[irqLevel](), "irq:irq level:level"},
	{"struct kvm_pit_config", reflect.TypeFor[pitConfig](), "flags:flags"},
	{"struct kvm_reinject_control", reflect.TypeFor[[32]byte](), ""},
	{"struct kvm_coalesced_mmio_zone", reflect.TypeFor[coalescedZone](), "addr:addr size:size pio:pio"},
	{"struct kvm_irqfd", reflect.TypeFor[irqFD](), "fd:fd gsi:gsi flags:flags resampleFD:resamplefd"},
	{"struct kvm_ioeventfd", reflect.TypeFor[ioEventFD](), "dataMatch:datamatch addr:addr len:len fd:fd flags:flags"},
	{"struct kvm_msi", reflect.TypeFor[msi](), "addressLo:address_lo addressHi:address_hi data:data"},
	{"struct kvm_irq_routing_entry", reflect.TypeFor[routingEntry](), "gsi:gsi kind:type u:u"},
	{"struct kvm_dirty_log", reflect.TypeFor[dirtyLog](), "slot:slot bitmap:dirty_bitmap"},
	{"struct kvm_clear_dirty_log", reflect.TypeFor[clearDirtyLog](), "slot:slot numPages:num_pages firstPage:first_page bitmap:dirty_bitmap"},
	{"struct kvm_msr_filter_range", reflect.TypeFor[msrFilterRange](), "flags:flags nmsrs:nmsrs base:base bitmap:bitmap"},
	{"struct kvm_msr_filter", reflect.TypeFor[msrFilter](), "flags:flags ranges:ranges"},
	{"struct kvm_enable_cap", reflect.TypeFor[enableCap](), "cap:cap args:args"},
	{"struct kvm_guest_debug", reflect.TypeFor[guestDebug](), "control:control debugReg:arch.debugreg"},
	{"struct kvm_userspace_memory_region", reflect.TypeFor[gokvm.UserspaceMemoryRegion](), "Slot:slot Flags:flags GuestPhysAddr:guest_phys_addr MemorySize:memory_size UserspaceAddr:userspace_addr"},
	{"struct kvm_dirty_gfn", reflect.TypeFor[dirtyEntry](), "flags:flags slot:slot offset:offset"},
}

// abiNumbers are C expressions and what they are here.
func abiNumbers() map[string]uint64 {
	n := map[string]uint64{
		"KVM_API_VERSION": apiVersion,

		"offsetof(struct kvm_signal_mask, sigset)":  uint64(offsetOf(reflect.TypeFor[signalMask](), "sigset")),
		"offsetof(struct kvm_cpuid2, entries)":      sizeTable,
		"offsetof(struct kvm_msrs, entries)":        sizeTable,
		"offsetof(struct kvm_irq_routing, entries)": sizeTable,
		"offsetof(struct kvm_msr_list, indices)":    sizeMSRList,
		"sizeof(struct kvm_xsave)":                  minXSaveSize,

		"offsetof(struct kvm_run, request_interrupt_window)":          runRequestWindow,
		"offsetof(struct kvm_run, immediate_exit)":                    runImmediateExit,
		"offsetof(struct kvm_run, exit_reason)":                       runExitReason,
		"offsetof(struct kvm_run, ready_for_interrupt_injection)":     runReadyForIRQ,
		"offsetof(struct kvm_run, if_flag)":                           runIFFlag,
		"offsetof(struct kvm_run, flags)":                             runFlags,
		"offsetof(struct kvm_run, cr8)":                               runCR8,
		"offsetof(struct kvm_run, apic_base)":                         runAPICBase,
		"offsetof(struct kvm_run, hw)":                                runUnion,
		"offsetof(struct kvm_run, kvm_valid_regs)":                    runUnion + runUnionSize,
		"offsetof(struct kvm_run, io.direction) - 32":                 0,
		"offsetof(struct kvm_run, io.size) - 32":                      1,
		"offsetof(struct kvm_run, io.port) - 32":                      2,
		"offsetof(struct kvm_run, io.count) - 32":                     4,
		"offsetof(struct kvm_run, io.data_offset) - 32":               8,
		"offsetof(struct kvm_run, mmio.phys_addr) - 32":               0,
		"offsetof(struct kvm_run, mmio.data) - 32":                    8,
		"offsetof(struct kvm_run, mmio.len) - 32":                     16,
		"offsetof(struct kvm_run, mmio.is_write) - 32":                20,
		"offsetof(struct kvm_run, fail_entry.cpu) - 32":               8,
		"offsetof(struct kvm_run, debug.arch.exception) - 32":         0,
		"offsetof(struct kvm_run, debug.arch.pc) - 32":                8,
		"offsetof(struct kvm_run, debug.arch.dr6) - 32":               16,
		"offsetof(struct kvm_run, debug.arch.dr7) - 32":               24,
		"offsetof(struct kvm_run, internal.ndata) - 32":               4,
		"offsetof(struct kvm_run, internal.data) - 32":                8,
		"offsetof(struct kvm_run, emulation_failure.flags) - 32":      8,
		"offsetof(struct kvm_run, emulation_failure.insn_size) - 32":  16,
		"offsetof(struct kvm_run, emulation_failure.insn_bytes) - 32": 17,
		"offsetof(struct kvm_run, system_event.ndata) - 32":           4,
		"offsetof(struct kvm_run, system_event.data) - 32":            8,
		"offsetof(struct kvm_run, hypercall.args) - 32":               8,
		"offsetof(struct kvm_run, hypercall.ret) - 32":                hypercallRet,
		"offsetof(struct kvm_run, hypercall.longmode) - 32":           64,
		"offsetof(struct kvm_run, msr.error) - 32":                    msrError,
		"offsetof(struct kvm_run, msr.reason) - 32":                   msrReason,
		"offsetof(struct kvm_run, msr.index) - 32":                    msrIndex,
		"offsetof(struct kvm_run, msr.data) - 32":                     msrData,
		"offsetof(struct kvm_run, eoi.vector) - 32":                   0,
		"offsetof(struct kvm_run, notify.flags) - 32":                 0,
		"offsetof(struct kvm_coalesced_mmio_ring, coalesced_mmio)":    8,
		"sizeof(struct kvm_coalesced_mmio)":                           24,
		"offsetof(struct kvm_coalesced_mmio, data)":                   16,
		"KVM_COALESCED_MMIO_PAGE_OFFSET":                              coalescedPage,
		"KVM_DIRTY_LOG_PAGE_OFFSET":                                   dirtyRingPageOffset,
		"KVM_DIRTY_GFN_F_DIRTY":                                       dirtyFlagDirty,
		"KVM_DIRTY_GFN_F_RESET":                                       dirtyFlagReset,
		"KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE":                         DirtyManualProtect,
		"KVM_DIRTY_LOG_INITIALLY_SET":                                 DirtyInitiallySet,
		"KVM_MEM_LOG_DIRTY_PAGES":                                     uint64(MemLogDirty),
		"KVM_MEM_READONLY":                                            uint64(MemReadOnly),
		"KVM_IRQCHIP_PIC_MASTER":                                      uint64(PICMaster),
		"KVM_IRQCHIP_PIC_SLAVE":                                       uint64(PICSlave),
		"KVM_IRQCHIP_IOAPIC":                                          uint64(IOAPIC),
		"KVM_IOAPIC_NUM_PINS":                                         IOAPICPins,
		"KVM_PIT_SPEAKER_DUMMY":                                       pitSpeakerDummy,
		"KVM_IRQ_ROUTING_IRQCHIP":                                     uint64(RouteIRQChip),
		"KVM_IRQ_ROUTING_MSI":                                         uint64(RouteMSI),
		"KVM_IRQFD_FLAG_DEASSIGN":                                     irqFDDeassign,
		"KVM_IRQFD_FLAG_RESAMPLE":                                     irqFDResample,
		"KVM_IOEVENTFD_FLAG_DATAMATCH":                                ioEventDataMatch,
		"KVM_IOEVENTFD_FLAG_PIO":                                      ioEventPIO,
		"KVM_IOEVENTFD_FLAG_DEASSIGN":                                 ioEventDeassign,
		"KVM_CPUID_FLAG_SIGNIFCANT_INDEX":                             uint64(CPUIDSignificantIndex),
		"KVM_MSR_FILTER_MAX_RANGES":                                   maxMSRFilterRanges,
		"KVM_MSR_FILTER_MAX_BITMAP_SIZE":                              maxMSRBitmap,
		"KVM_MSR_FILTER_READ":                                         uint64(MSRFilterRead),
		"KVM_MSR_FILTER_WRITE":                                        uint64(MSRFilterWrite),
		"KVM_MSR_FILTER_DEFAULT_DENY":                                 msrFilterDefaultDeny,
		"KVM_MSR_EXIT_REASON_INVAL":                                   MSRReasonInvalid,
		"KVM_MSR_EXIT_REASON_UNKNOWN":                                 MSRReasonUnknown,
		"KVM_MSR_EXIT_REASON_FILTER":                                  MSRReasonFilter,
		"KVM_CLOCK_TSC_STABLE":                                        uint64(ClockTSCStable),
		"KVM_CLOCK_REALTIME":                                          uint64(ClockRealtime),
		"KVM_CLOCK_HOST_TSC":                                          uint64(ClockHostTSC),
		"KVM_GUESTDBG_ENABLE":                                         uint64(DebugEnable),
		"KVM_GUESTDBG_SINGLESTEP":                                     uint64(DebugSingleStep),
		"KVM_GUESTDBG_USE_SW_BP":                                      uint64(DebugUseSWBP),
		"KVM_GUESTDBG_USE_HW_BP":                                      uint64(DebugUseHWBP),
		"KVM_GUESTDBG_INJECT_DB":                                      uint64(DebugInjectDB),
		"KVM_GUESTDBG_INJECT_BP":                                      uint64(DebugInjectBP),
		"KVM_GUESTDBG_BLOCKIRQ":                                       uint64(DebugBlockIRQ),
		"KVM_MP_STATE_RUNNABLE":                                       uint64(MPRunnable),
		"KVM_MP_STATE_UNINITIALIZED":                                  uint64(MPUninitialized),
		"KVM_MP_STATE_INIT_RECEIVED":                                  uint64(MPInitReceived),
		"KVM_MP_STATE_HALTED":                                         uint64(MPHalted),
		"KVM_MP_STATE_SIPI_RECEIVED":                                  uint64(MPSIPIReceived),
		"KVM_VCPUEVENT_VALID_NMI_PENDING":                             uint64(EventsNMIPending),
		"KVM_VCPUEVENT_VALID_SIPI_VECTOR":                             uint64(EventsSIPIVector),
		"KVM_VCPUEVENT_VALID_SHADOW":                                  uint64(EventsShadow),
		"KVM_VCPUEVENT_VALID_SMM":                                     uint64(EventsSMM),
		"KVM_VCPUEVENT_VALID_PAYLOAD":                                 uint64(EventsPayload),
		"KVM_VCPUEVENT_VALID_TRIPLE_FAULT":                            uint64(EventsTripleFault),
		"KVM_INTERNAL_ERROR_EMULATION":                                uint64(InternalErrorEmulation),
		"KVM_INTERNAL_ERROR_SIMUL_EX":                                 uint64(InternalErrorSimultaneous),
		"KVM_INTERNAL_ERROR_DELIVERY_EV":                              uint64(InternalErrorDeliveryEvent),
		"KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON":                   uint64(InternalErrorUnexpectedExit),
		"KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES":         1,
		"KVM_SYSTEM_EVENT_SHUTDOWN":                                   uint64(SystemEventShutdown),
		"KVM_SYSTEM_EVENT_RESET":                                      uint64(SystemEventReset),
		"KVM_SYSTEM_EVENT_CRASH":                                      uint64(SystemEventCrash),
		"KVM_RUN_X86_SMM":                                             uint64(RunSMM),
		"KVM_RUN_X86_BUS_LOCK":                                        uint64(RunBusLock),
		"KVM_NOTIFY_CONTEXT_INVALID":                                  uint64(NotifyContextInvalid),
		"KVM_EXIT_IO_IN":                                              0,
	}
	for name, reason := range abiExits {
		n[name] = uint64(reason)
	}
	for name, req := range abiRequests() {
		n[name] = uint64(req)
	}
	for c := range capNames {
		if capNames[c] != "" {
			n[Cap(c).String()] = uint64(c)
		}
	}
	return n
}

var abiExits = map[string]ExitReason{
	"KVM_EXIT_UNKNOWN":         ExitUnknown,
	"KVM_EXIT_EXCEPTION":       ExitException,
	"KVM_EXIT_IO":              ExitIO,
	"KVM_EXIT_HYPERCALL":       ExitHypercall,
	"KVM_EXIT_DEBUG":           ExitDebug,
	"KVM_EXIT_HLT":             ExitHLT,
	"KVM_EXIT_MMIO":            ExitMMIO,
	"KVM_EXIT_IRQ_WINDOW_OPEN": ExitIRQWindowOpen,
	"KVM_EXIT_SHUTDOWN":        ExitShutdown,
	"KVM_EXIT_FAIL_ENTRY":      ExitFailEntry,
	"KVM_EXIT_INTR":            ExitIntr,
	"KVM_EXIT_SET_TPR":         ExitSetTPR,
	"KVM_EXIT_TPR_ACCESS":      ExitTPRAccess,
	"KVM_EXIT_NMI":             ExitNMI,
	"KVM_EXIT_INTERNAL_ERROR":  ExitInternalError,
	"KVM_EXIT_WATCHDOG":        ExitWatchdog,
	"KVM_EXIT_SYSTEM_EVENT":    ExitSystemEvent,
	"KVM_EXIT_IOAPIC_EOI":      ExitIOAPICEOI,
	"KVM_EXIT_HYPERV":          ExitHyperV,
	"KVM_EXIT_X86_RDMSR":       ExitRDMSR,
	"KVM_EXIT_X86_WRMSR":       ExitWRMSR,
	"KVM_EXIT_DIRTY_RING_FULL": ExitDirtyRingFull,
	"KVM_EXIT_AP_RESET_HOLD":   ExitAPResetHold,
	"KVM_EXIT_X86_BUS_LOCK":    ExitBusLock,
	"KVM_EXIT_XEN":             ExitXen,
	"KVM_EXIT_NOTIFY":          ExitNotify,
	"KVM_EXIT_MEMORY_FAULT":    ExitMemoryFault,
	"KVM_EXIT_TDX":             ExitTDX,
}

func offsetOf(t reflect.Type, path string) uintptr {
	var off uintptr
	for name := range strings.SplitSeq(path, ".") {
		if t.Kind() != reflect.Struct {
			return off // a scalar stands where the kernel has a structure of one field
		}
		f, ok := t.FieldByName(name)
		if !ok {
			panic(t.String() + " has no field " + path)
		}
		off += f.Offset
		t = f.Type
	}
	return off
}

// TestABI compares sizes, offsets and numbers with the kernel's own header, by compiling a C
// program against it. Names that the header is too old for are left out and counted; they have
// to be few, or the comparison is worth nothing.
func TestABI(t *testing.T) {
	want := abiNumbers()
	for _, s := range abiStructs {
		want["sizeof("+s.c+")"] = uint64(s.t.Size())
		for pair := range strings.FieldsSeq(s.fields) {
			ours, theirs, _ := strings.Cut(pair, ":")
			want["offsetof("+s.c+", "+theirs+")"] = uint64(offsetOf(s.t, ours))
		}
	}
	got, missing := kernelNumbers(t, want)
	for name, n := range got {
		if n != want[name] {
			t.Errorf("%s is %d (%#x), want %d (%#x)", name, want[name], want[name], n, n)
		}
	}
	if len(got)+len(missing) != len(want) || len(got) == 0 {
		t.Errorf("%d numbers asked for, %d compared, %d missing", len(want), len(got), len(missing))
	}
	// 11 extensions and 2 exit reasons are younger than Debian 12's Linux 6.1 headers.
	const younger = 13
	t.Logf("%d numbers compared; %d are not in this header: %s", len(got), len(missing), strings.Join(missing, " "))
	if len(missing) > younger {
		t.Errorf("%d names are not in the header, at most %d should be: install a newer linux-libc-dev", len(missing), younger)
	}
	for _, name := range missing {
		if strings.HasPrefix(name, "KVM_EXIT_") || strings.HasPrefix(name, "KVM_CAP_") {
			continue
		}
		t.Errorf("%s is not in the header", name)
	}
}

// kernelNumbers evaluates C expressions with <linux/kvm.h>.
func kernelNumbers(t *testing.T, exprs map[string]uint64) (got map[string]uint64, missing []string) {
	t.Helper()
	var src bytes.Buffer
	src.WriteString("#include <stddef.h>\n#include <stdio.h>\n#include <linux/kvm.h>\nint main(void) {\n")
	for e := range exprs {
		line := fmt.Sprintf("printf(\"%s=%%llu\\n\", (unsigned long long)(%s));\n", e, e)
		if isName := !strings.ContainsAny(e, "( "); isName {
			line = fmt.Sprintf("#ifdef %s\n%s#else\nputs(\"%s=missing\");\n#endif\n", e, line, e)
		}
		src.WriteString(line)
	}
	src.WriteString("return 0; }\n")
	dir := t.TempDir()
	file, bin := filepath.Join(dir, "abi.c"), filepath.Join(dir, "abi")
	check(t, os.WriteFile(file, src.Bytes(), 0o600))
	if out, err := exec.Command("gcc", "-o", bin, file).CombinedOutput(); err != nil {
		t.Fatalf("gcc (Debian packages gcc, libc6-dev, linux-libc-dev): %v\n%s", err, out)
	}
	out, err := exec.Command(bin).Output()
	check(t, err)
	got = make(map[string]uint64)
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if value == "missing" {
			missing = append(missing, name)
			continue
		}
		got[name], err = strconv.ParseUint(value, 10, 64)
		check(t, err)
	}
	return got, missing
}

// TestTableEntries holds what newTable takes for granted.
func TestTableEntries(t *testing.T) {
	for _, e := range []reflect.Type{reflect.TypeFor[CPUIDEntry](), reflect.TypeFor[MSREntry](), reflect.TypeFor[routingEntry]()} {
		if e.Size()%8 != 0 {
			t.Errorf("%v has %d bytes, want a multiple of 8", e, e.Size())
		}
	}
	words, entries := newTable[MSREntry](3)
	entries[2].Data = 7
	if words[0] != 3 || len(words) != 7 || words[6] != 7 {
		t.Errorf("table is %v", words)
	}
	words[0] = 9
	if n := tableLen(words, 3); n != 3 {
		t.Errorf("length is %d, want it bounded by 3", n)
	}
	if words, entries := newTable[CPUIDEntry](0); len(words) != 1 || len(entries) != 0 {
		t.Errorf("empty table is %v, %v", words, entries)
	}
}
