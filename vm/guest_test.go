package vm

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// tinyEntry is where a tiny guest's code lies and starts.
const tinyEntry = 0x100000

// tinyGuest writes an ELF kernel whose PVH entry is the given code, which starts
// in 32-bit protected mode, and returns its path.
func tinyGuest(t *testing.T, code ...byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "guest.elf")
	if err := os.WriteFile(path, tinyELF(code), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// tinyELF lays out: ELF header, two program headers, the PVH note, the code.
func tinyELF(code []byte) []byte {
	const (
		headerSize, programSize = 64, 56
		noteAt                  = headerSize + 2*programSize
		noteSize                = 12 + 4 + 4
		codeAt                  = 4096
	)
	var b bytes.Buffer
	put := func(values ...any) {
		for _, v := range values {
			_ = binary.Write(&b, binary.LittleEndian, v)
		}
	}
	put([]byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	put(uint16(2), uint16(62), uint32(1), uint64(tinyEntry), uint64(headerSize), uint64(0), uint32(0))
	put(uint16(headerSize), uint16(programSize), uint16(2), uint16(0), uint16(0), uint16(0))
	size := uint64(len(code))
	put(uint32(1), uint32(5), uint64(codeAt), uint64(tinyEntry), uint64(tinyEntry), size, size, uint64(4096))
	put(uint32(4), uint32(4), uint64(noteAt), uint64(0), uint64(0), uint64(noteSize), uint64(noteSize), uint64(4))
	put(uint32(4), uint32(4), uint32(18), []byte("Xen\x00"), uint32(tinyEntry))
	put(make([]byte, codeAt-b.Len()), code)
	return b.Bytes()
}

// Pieces of 32-bit code for tiny guests.

// out8 writes a byte to a port.
func out8(port uint16, value byte) []byte {
	return []byte{0x66, 0xBA, byte(port), byte(port >> 8), 0xB0, value, 0xEE}
}

// halt stops for ever, deaf to interrupts.
var halt = []byte{0xFA, 0xF4, 0xEB, 0xFD}

// tripleFault loads an empty IDT from the zeroes behind the code, and traps.
func tripleFault() []byte {
	code := []byte{0x0F, 0x01, 0x1D, 0, 0, 0, 0, 0xCC}
	binary.LittleEndian.PutUint32(code[3:], tinyEntry+uint32(len(code)))
	return append(code, make([]byte, 8)...)
}

// counterAt is where countForever counts.
const counterAt = 0x200000

// countForever increments a word of memory for ever.
func countForever() []byte {
	code := []byte{0xFF, 0x05, 0, 0, 0, 0, 0xEB, 0xF8}
	binary.LittleEndian.PutUint32(code[2:], counterAt)
	return code
}

// jumpTo continues at an address.
func jumpTo(addr uint32) []byte {
	code := []byte{0xB8, 0, 0, 0, 0, 0xFF, 0xE0}
	binary.LittleEndian.PutUint32(code[1:], addr)
	return code
}

// tinyConfig is the configuration of a machine that boots a tiny guest.
func tinyConfig(t *testing.T, code ...[]byte) Config {
	t.Helper()
	return Config{
		Memory:     MinMemory,
		Kernel:     tinyGuest(t, bytes.Join(code, nil)...),
		NoUserLand: true,
		CacheDir:   t.TempDir(),
	}
}
