package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Offsets in a bzImage and in its setup header, and the protocol versions that
// brought them: Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header".
const (
	sectorSize = 512

	headerStart   = 0x1f1 // of the setup header, in the file and in the zero page
	headerMaxEnd  = 0x290 // where struct boot_params goes on behind it
	headerReadLen = headerMaxEnd

	offSetupSects    = 0x1f1
	offSyssize       = 0x1f4
	offBootFlag      = 0x1fe
	offJump          = 0x200
	offMagic         = 0x202
	offVersion       = 0x206
	offKernelVersion = 0x20e
	offLoadFlags     = 0x211
	offInitrdMax     = 0x22c
	offAlignment     = 0x230
	offRelocatable   = 0x234
	offXLoadFlags    = 0x236
	offCmdlineSize   = 0x238
	offPayload       = 0x248
	offPayloadLen    = 0x24c
	offPrefAddress   = 0x258
	offInitSize      = 0x260
	offHandover      = 0x264

	bootFlag    = 0xaa55
	headerMagic = "HdrS"

	protocolMin      = 0x0208 // payload_offset and payload_length
	protocolInitSize = 0x020a // pref_address and init_size
	protocolHandover = 0x020b // handover_offset
	protocolXLoad    = 0x020c // xloadflags

	loadedHigh = 1 << 0 // loadflags: loads at 1 MiB, not at 64 KiB

	// XLoadKernel64 (XLF_KERNEL_64): the kernel has the 64-bit entry at 0x200.
	xloadKernel64 = 1 << 0

	// entry64 is where a 64-bit kernel is entered, from its load address.
	entry64 = 0x200

	maxVersionBytes = 256
	maxImageBytes   = 1 << 30
)

// setupHeader is the setup header of a bzImage, checked against its file.
type setupHeader struct {
	raw         []byte // from headerStart on
	protocol    uint16
	version     string // of the kernel, with builder and date; may be ""
	initrdMax   uint64
	cmdlineSize uint32 // longest command line without its NUL
	alignment   uint32
	relocatable bool
	xloadFlags  uint16
	prefAddress uint64
	initSize    uint64
	handover    uint32 // 0: no EFI handover entry

	codeOffset, codeSize       uint64 // protected-mode code in the file
	payloadOffset, payloadSize uint64 // compressed kernel in the file
}

// Raw is a copy of the header as it goes to the zero page.
func (h *setupHeader) Raw() []byte { return append([]byte(nil), h.raw...) }

// InitrdMax is the highest address that a byte of an initrd may have.
func (h *setupHeader) InitrdMax() uint64 { return h.initrdMax }

// isBzImage tells whether a file that starts so has a setup header.
func isBzImage(head []byte) bool {
	return len(head) >= offMagic+4 && binary.LittleEndian.Uint16(head[offBootFlag:]) == bootFlag &&
		string(head[offMagic:offMagic+4]) == headerMagic
}

// parseBzImage reads and checks the setup header of a bzImage of size bytes.
func parseBzImage(r io.ReaderAt, size uint64) (*setupHeader, error) {
	head := make([]byte, headerReadLen)
	if err := readAt(r, head, 0, size); err != nil {
		return nil, fmt.Errorf("bzImage setup header: %w", err)
	}
	if !isBzImage(head) {
		return nil, errors.New("not a bzImage")
	}
	le := binary.LittleEndian
	h := &setupHeader{protocol: le.Uint16(head[offVersion:])}
	switch {
	case h.protocol < protocolMin:
		return nil, fmt.Errorf("bzImage of boot protocol %d.%d: at least 2.8 is needed (Linux 2.6.24)", h.protocol>>8, h.protocol&0xff)
	case head[offLoadFlags]&loadedHigh == 0:
		return nil, errors.New("zImage that loads low: only bzImages can be started")
	case size > maxImageBytes:
		return nil, fmt.Errorf("bzImage of %d bytes: at most %d are possible", size, maxImageBytes)
	}
	// The header ends where the jump at its start leads to.
	end := min(offMagic+int(head[offJump+1]), headerMaxEnd)
	if end < offHandover {
		return nil, fmt.Errorf("bzImage setup header ends at %#x: too short for boot protocol %d.%d", end, h.protocol>>8, h.protocol&0xff)
	}
	h.raw = head[headerStart:end:end]
	if err := h.fields(head); err != nil {
		return nil, err
	}
	if err := h.places(head, size); err != nil {
		return nil, err
	}
	return h, h.readVersion(r, le.Uint16(head[offKernelVersion:]), size)
}

// fields decodes the plain fields that the protocol's version has.
func (h *setupHeader) fields(head []byte) error {
	le := binary.LittleEndian
	h.initrdMax = uint64(le.Uint32(head[offInitrdMax:]))
	h.alignment = le.Uint32(head[offAlignment:])
	h.relocatable = head[offRelocatable] != 0
	h.cmdlineSize = le.Uint32(head[offCmdlineSize:])
	if h.protocol >= protocolInitSize {
		h.prefAddress = le.Uint64(head[offPrefAddress:])
		h.initSize = uint64(le.Uint32(head[offInitSize:]))
	}
	if h.protocol >= protocolHandover && headerStart+len(h.raw) >= offHandover+4 {
		h.handover = le.Uint32(head[offHandover:])
	}
	if h.protocol >= protocolXLoad {
		h.xloadFlags = le.Uint16(head[offXLoadFlags:])
	}
	if h.relocatable && (h.alignment == 0 || h.alignment&(h.alignment-1) != 0) {
		return fmt.Errorf("bzImage with kernel_alignment %#x: not a power of two", h.alignment)
	}
	return nil
}

// places finds code and payload in the file. All values come from fields of at
// most 32 bits, so that 64-bit sums cannot overflow.
func (h *setupHeader) places(head []byte, size uint64) error {
	le := binary.LittleEndian
	sectors := uint64(head[offSetupSects])
	if sectors == 0 {
		sectors = 4 // the protocol's word for old kernels
	}
	h.codeOffset = (sectors + 1) * sectorSize
	h.codeSize = uint64(le.Uint32(head[offSyssize:])) * 16
	h.payloadOffset = h.codeOffset + uint64(le.Uint32(head[offPayload:]))
	h.payloadSize = uint64(le.Uint32(head[offPayloadLen:]))
	codeEnd, payloadEnd := h.codeOffset+h.codeSize, h.payloadOffset+h.payloadSize
	switch {
	case payloadEnd > size:
		return fmt.Errorf("truncated bzImage: payload ends at %d, beyond the file's %d bytes", payloadEnd, size)
	case codeEnd > size:
		return fmt.Errorf("truncated bzImage: code ends at %d, beyond the file's %d bytes", codeEnd, size)
	case payloadEnd > codeEnd:
		return fmt.Errorf("corrupt bzImage: payload ends at %d, beyond the code's end at %d", payloadEnd, codeEnd)
	}
	return nil
}

// readVersion reads the kernel's version string, which lies in the setup code.
func (h *setupHeader) readVersion(r io.ReaderAt, at uint16, size uint64) error {
	start := uint64(at) + offJump
	if at == 0 || start >= h.codeOffset {
		return nil // the protocol: zero is none; anything else outside is not one
	}
	text := make([]byte, min(maxVersionBytes, h.codeOffset-start))
	if err := readAt(r, text, start, size); err != nil {
		return fmt.Errorf("bzImage version: %w", err)
	}
	h.version = printable(text)
	return nil
}

// printable cuts text from a file at its NUL and makes it fit for a terminal.
func printable(text []byte) string {
	out := make([]byte, 0, len(text))
	for _, c := range text {
		if c == 0 {
			break
		}
		if c < ' ' || c > '~' {
			c = '?'
		}
		out = append(out, c)
	}
	return string(out)
}
