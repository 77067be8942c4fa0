package boot

import (
	"encoding/binary"
	"fmt"

	"github.com/gureum/gureum/guest/memory"
)

// Offsets in struct boot_params (asm/bootparam.h; zero-page.rst).
const (
	zeroPageSize = 4096

	bpACPIRSDP        = 0x070
	bpExtRamdiskImage = 0x0C0
	bpExtRamdiskSize  = 0x0C4
	bpExtCmdline      = 0x0C8
	bpMapEntries      = 0x1E8
	bpSetupHeader     = 0x1F1
	bpBootFlag        = 0x1FE
	bpMagic           = 0x202
	bpVersion         = 0x206
	bpTypeOfLoader    = 0x210
	bpLoadFlags       = 0x211
	bpRamdiskImage    = 0x218
	bpRamdiskSize     = 0x21C
	bpExtLoaderType   = 0x227
	bpCmdline         = 0x228
	bpInitrdMax       = 0x22C
	bpAlignment       = 0x230
	bpXLoadFlags      = 0x236
	bpCmdlineSize     = 0x238
	bpSetupData       = 0x250
	bpSetupHeaderEnd  = 0x290 // of the room for it
	bpMemoryMap       = 0x2D0

	mapEntrySize = 20
)

// Values of the setup header.
const (
	bootFlag        = 0xAA55
	headerMagic     = "HdrS"
	protocolVersion = 0x020F // 2.15, for kernels that bring no header
	loaderUndefined = 0xFF   // no number is assigned to us
	loadedHigh      = 1 << 0
	kernel64        = 1 << 0
	kernelAlignment = 0x20_0000

	// versionCmdlineSize is the first protocol whose header states the limit of
	// the command line; older kernels take defaultCmdline, and a kernel that
	// brings no header is a new one, with COMMAND_LINE_SIZE less the NUL.
	versionCmdlineSize = 0x0206
	defaultCmdline     = 255
	modernCmdline      = 2047
)

// cmdlineLimit is how many bytes of command line a kernel takes, the NUL not
// counted.
func cmdlineLimit(header []byte) int {
	const room = memory.CommandLineMax - 1
	if header == nil {
		return min(modernCmdline, room)
	}
	if len(header) < bpCmdlineSize+4-bpSetupHeader ||
		binary.LittleEndian.Uint16(header[bpVersion-bpSetupHeader:]) < versionCmdlineSize {
		return min(defaultCmdline, room)
	}
	return int(min(uint64(binary.LittleEndian.Uint32(header[bpCmdlineSize-bpSetupHeader:])), room))
}

// linux64 writes the zero page, the GDT and the page tables.
func (h *handover) linux64(m *memory.Memory) (Entry, error) {
	parts := []struct {
		what  string
		gpa   uint64
		bytes []byte
	}{
		{"the zero page", memory.ZeroPage, h.zeroPage()},
		{"the GDT", memory.BootGDT, gdt()},
		{"page tables", memory.BootPageTables, pageTables()},
	}
	for _, p := range parts {
		if err := m.WriteAt(p.bytes, p.gpa); err != nil {
			return Entry{}, fmt.Errorf("write %s: %w", p.what, err)
		}
	}
	return Entry{
		Protocol: Linux64, IP: h.kernel.Entry, Arg: memory.ZeroPage,
		PageTable: memory.BootPageTables, GDT: memory.BootGDT,
	}, nil
}

// zeroPage is struct boot_params. Everything that is not set stays zero, as the
// protocol wants it; no video mode, so that no text console is looked for.
func (h *handover) zeroPage() []byte {
	b := make([]byte, zeroPageSize)
	le := binary.LittleEndian
	h.setupHeader(b)
	le.PutUint64(b[bpACPIRSDP:], h.rsdp)

	// The upper halves stay zero but for machines that will load higher.
	le.PutUint32(b[bpCmdline:], uint32(memory.CommandLine))
	le.PutUint32(b[bpExtCmdline:], uint32(uint64(memory.CommandLine)>>32))
	size := h.initrd.End - h.initrd.Start
	le.PutUint32(b[bpRamdiskImage:], uint32(h.initrd.Start))
	le.PutUint32(b[bpExtRamdiskImage:], uint32(h.initrd.Start>>32))
	le.PutUint32(b[bpRamdiskSize:], uint32(size))
	le.PutUint32(b[bpExtRamdiskSize:], uint32(size>>32))

	b[bpMapEntries] = byte(len(h.memory))
	at := b[bpMemoryMap:]
	for _, e := range h.memory {
		le.PutUint64(at, e.Start)
		le.PutUint64(at[8:], e.End-e.Start)
		le.PutUint32(at[16:], e.kind)
		at = at[mapEntrySize:]
	}
	return b
}

// setupHeader copies the kernel's own header, or makes one, and fills in the
// loader's fields.
func (h *handover) setupHeader(b []byte) {
	le := binary.LittleEndian
	if h.kernel.SetupHeader != nil {
		copy(b[bpSetupHeader:bpSetupHeaderEnd], h.kernel.SetupHeader)
	} else {
		le.PutUint32(b[bpInitrdMax:], uint32(min(h.kernel.InitrdMax, 1<<32-1)))
		le.PutUint32(b[bpAlignment:], kernelAlignment)
		le.PutUint16(b[bpVersion:], protocolVersion)
		le.PutUint16(b[bpXLoadFlags:], kernel64)
		le.PutUint32(b[bpCmdlineSize:], modernCmdline)
	}
	le.PutUint16(b[bpBootFlag:], bootFlag)
	copy(b[bpMagic:], headerMagic)
	b[bpTypeOfLoader] = loaderUndefined
	b[bpExtLoaderType] = 0
	b[bpLoadFlags] |= loadedHigh
	le.PutUint64(b[bpSetupData:], 0)
}

// The boot GDT: what boot.rst calls __BOOT_CS and __BOOT_DS.
const (
	// CodeSelector is a flat 64-bit code segment, execute and read.
	CodeSelector = 0x10
	// DataSelector is a flat data segment, read and write.
	DataSelector = 0x18
	// GDTBytes is the size of the descriptor table.
	GDTBytes = 0x20

	codeDescriptor = 0x00AF_9B00_0000_FFFF
	dataDescriptor = 0x00CF_9300_0000_FFFF
)

func gdt() []byte {
	b := make([]byte, GDTBytes)
	binary.LittleEndian.PutUint64(b[CodeSelector:], codeDescriptor)
	binary.LittleEndian.PutUint64(b[DataSelector:], dataDescriptor)
	return b
}

// pageTables maps the first 4 GiB onto themselves: a PML4, a PDPT, and four page
// directories of 2 MiB pages (Intel SDM volume 3, section 4.5).
func pageTables() []byte {
	const (
		page    = memory.PageBytes
		large   = 2 << 20
		entries = 512
		tables  = 4

		present  = 1 << 0
		writable = 1 << 1
		pageSize = 1 << 7
		link     = present | writable
		leaf     = link | pageSize
	)
	le := binary.LittleEndian
	b := make([]byte, memory.BootPageTablesEnd-memory.BootPageTables)
	pdpt, directories := b[page:], b[2*page:]
	le.PutUint64(b, memory.BootPageTables+page|link)
	for i := range tables {
		le.PutUint64(pdpt[8*i:], uint64(memory.BootPageTables+(2+i)*page)|link)
	}
	for i := range tables * entries {
		le.PutUint64(directories[8*i:], uint64(i)*large|leaf)
	}
	return b
}
