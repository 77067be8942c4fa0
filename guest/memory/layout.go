package memory

// The machine's layout on x86-64: the one place that says where things lie in
// guest physical address space. Everything is a GPA or a size in bytes.
const (
	// PageBytes is the size of the smallest page of the guest and the host.
	PageBytes = 4096

	// MinSize and MaxSize bound Config.Size.
	MinSize = 32 << 20
	MaxSize = 16 << 40

	// HoleStart and HoleEnd bound the MMIO hole [HoleStart, HoleEnd): RAM that
	// does not fit below it goes on at HoleEnd.
	HoleStart = 3 << 30
	HoleEnd   = 4 << 30
)

// Below 1 MiB: what the VMM writes before the first vCPU runs.
const (
	// LowEnd ends the area of the boot structures. A kernel never loads below it.
	LowEnd = 0x10_0000

	// BootGDT holds the global descriptor table of the 64-bit entry.
	BootGDT = 0x500
	// PVHStartInfo holds struct hvm_start_info, then its modules and memory map
	// (Xen's public/arch-x86/hvm/start_info.h). Room up to ZeroPage.
	PVHStartInfo = 0x6000
	// ZeroPage holds struct boot_params (Documentation/arch/x86/zero-page.rst),
	// one page.
	ZeroPage = 0x7000
	// BootPageTables holds the identity map of the first 4 GiB by 2 MiB pages:
	// PML4, PDPT and four page directories, up to BootPageTablesEnd.
	BootPageTables    = 0x9000
	BootPageTablesEnd = 0xF000
	// CommandLine holds the kernel's NUL-terminated command line.
	CommandLine = 0x2_0000
	// CommandLineMax is the room kept for it, NUL included. What a kernel takes
	// is less: 2048 bytes (COMMAND_LINE_SIZE) unless its setup header says more.
	CommandLineMax = 0x1_0000

	// LowRAMEnd ends the usable low RAM of the E820 map when the MP table fits
	// in the 1 KiB behind it; that is where the extended BIOS data area starts.
	LowRAMEnd = 0x9_FC00
	// EBDA holds the MP floating pointer and table. A table for many CPUs starts
	// lower; what it takes is reserved in E820.
	EBDA    = LowRAMEnd
	EBDAEnd = 0xA_0000

	// ACPITables holds the RSDP, and the tables after it up to ACPITablesEnd
	// (reserved in E820). Linux looks for the RSDP from 0xE0000 to 0xFFFFF.
	ACPITables    = 0xE_0000
	ACPITablesEnd = LowEnd

	// KernelStart is the lowest address at which a kernel may load.
	KernelStart = LowEnd
)

// In the MMIO hole.
const (
	// PCIWindow, up to PCIWindowEnd, is where PCI functions have their BARs.
	PCIWindow    = HoleStart
	PCIWindowEnd = VirtioMMIO
	// VirtioMMIO is where virtio-mmio devices start.
	VirtioMMIO = 0xD000_0000
	// PCIECAM is the PCI Express configuration space (MCFG), 256 buses.
	PCIECAM     = 0xE000_0000
	PCIECAMSize = 256 << 20
	// IOAPIC and LocalAPIC are the architectural defaults; KVM emulates both.
	IOAPIC    = 0xFEC0_0000
	LocalAPIC = 0xFEE0_0000
	// IdentityMapPage is the page for KVM_SET_IDENTITY_MAP_ADDR.
	IdentityMapPage = 0xFEFF_C000
	// TSSPages are the three pages for KVM_SET_TSS_ADDR.
	TSSPages = 0xFEFF_D000
)
