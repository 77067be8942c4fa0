package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// The ELF reader is our own and not debug/elf: a VMM needs the program headers
// and one note, read from a few KiB, while debug/elf wants sections and names,
// allocates by counts that the file states, and has a history of panics on files
// made for that. Numbers and layouts are those of the System V ABI, edition 4.1
// chapters 4 and 5, and its x86-64 supplement.
const (
	elfHeaderSize  = 64
	elfSegmentSize = 56  // one program header
	maxSegments    = 128 // a vmlinux has about five
	maxNoteBytes   = 1 << 20

	elfClass64   = 2
	elfLittle    = 1
	elfTypeRel   = 1
	elfTypeExec  = 2
	elfTypeDyn   = 3
	elfTypeCore  = 4
	machineAMD64 = 62

	segmentLoad   = 1
	segmentInterp = 3
	segmentNote   = 4
	segmentTLS    = 7
)

// XEN_ELFNOTE_PHYS32_ENTRY holds the 32-bit physical address of the PVH entry
// (Xen's public/elfnote.h).
const (
	notePhys32Entry = 18
	noteOwnerXen    = "Xen\x00"
)

var elfMagic = []byte("\x7fELF")

// segment is a PT_LOAD program header that was checked: the bytes lie in the
// file, fileSize <= memSize, and gpa+memSize does not overflow.
type segment struct {
	offset, vaddr, gpa, fileSize, memSize uint64
}

func (s segment) end() uint64 { return s.gpa + s.memSize }

// elfFile is what the loader needs to know of an ELF kernel.
type elfFile struct {
	segments []segment // ascending by gpa, not empty, no overlap
	entry    uint64    // physical
	pvhEntry uint64    // physical; 0 is none
}

// parseELF reads the headers and the PVH note of an ELF kernel of size bytes.
func parseELF(r io.ReaderAt, size uint64) (*elfFile, error) {
	var head [elfHeaderSize]byte
	if err := readAt(r, head[:], 0, size); err != nil {
		return nil, fmt.Errorf("ELF header: %w", err)
	}
	if err := checkELFHeader(head[:]); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	phoff, phsize, phnum := le.Uint64(head[32:]), le.Uint16(head[54:]), int(le.Uint16(head[56:]))
	switch {
	case phnum == 0:
		return nil, errors.New("ELF file without program headers: not a linked kernel")
	case phsize != elfSegmentSize || phnum > maxSegments:
		return nil, fmt.Errorf("ELF program headers: %d of %d bytes, want at most %d of %d", phnum, phsize, maxSegments, elfSegmentSize)
	}
	table := make([]byte, phnum*elfSegmentSize)
	if err := readAt(r, table, phoff, size); err != nil {
		return nil, fmt.Errorf("ELF program headers: %w", err)
	}
	e := &elfFile{}
	for i := range phnum {
		if err := e.addHeader(r, size, i, table[i*elfSegmentSize:][:elfSegmentSize]); err != nil {
			return nil, err
		}
	}
	return e, e.finish(le.Uint64(head[24:]))
}

// checkELFHeader refuses ELF files that cannot be a kernel for this machine.
func checkELFHeader(head []byte) error {
	le := binary.LittleEndian
	typ, machine := le.Uint16(head[16:]), le.Uint16(head[18:])
	switch {
	case string(head[:4]) != string(elfMagic):
		return errors.New("not an ELF file")
	case head[4] != elfClass64:
		return errors.New("32-bit ELF file: only 64-bit x86 kernels can be started")
	case head[5] != elfLittle || machine != machineAMD64:
		return fmt.Errorf("ELF file for another machine (number %d): only x86-64 kernels can be started", machine)
	case typ == elfTypeRel:
		return errors.New("ELF object file, not a linked kernel: a kernel module?")
	case typ == elfTypeCore:
		return errors.New("ELF core dump, not a kernel")
	case typ != elfTypeExec && typ != elfTypeDyn:
		return fmt.Errorf("ELF file of type %d: not a kernel", typ)
	}
	return nil
}

func (e *elfFile) addHeader(r io.ReaderAt, size uint64, index int, h []byte) error {
	le := binary.LittleEndian
	s := segment{
		offset: le.Uint64(h[8:]), vaddr: le.Uint64(h[16:]), gpa: le.Uint64(h[24:]),
		fileSize: le.Uint64(h[32:]), memSize: le.Uint64(h[40:]),
	}
	switch le.Uint32(h) {
	case segmentInterp, segmentTLS:
		return errors.New("ELF file is a program for user space, not a kernel")
	case segmentNote:
		return e.readNotes(r, size, s)
	case segmentLoad:
		if s.memSize == 0 {
			return nil
		}
		if err := s.check(size); err != nil {
			return fmt.Errorf("ELF segment %d: %w", index, err)
		}
		e.segments = append(e.segments, s)
	}
	return nil
}

func (s segment) check(size uint64) error {
	switch {
	case s.fileSize > s.memSize:
		return fmt.Errorf("%d bytes in the file for %d in memory", s.fileSize, s.memSize)
	case s.fileSize > 0 && (s.offset > size || s.fileSize > size-s.offset):
		return fmt.Errorf("truncated: bytes %d to %d of a file of %d", s.offset, s.offset+s.fileSize, size)
	case s.gpa+s.memSize < s.gpa || s.vaddr+s.memSize < s.vaddr && s.vaddr+s.memSize != 0:
		return fmt.Errorf("%d bytes at %#x run over the end of the address space", s.memSize, s.gpa)
	}
	return nil
}

// readNotes looks for the PVH entry. A file may lie about its notes; whatever
// does not parse is passed over, since a kernel can do without.
func (e *elfFile) readNotes(r io.ReaderAt, size uint64, s segment) error {
	notes := make([]byte, min(s.fileSize, maxNoteBytes, size))
	if err := readAt(r, notes, s.offset, size); err != nil {
		return fmt.Errorf("ELF notes: %w", err)
	}
	le := binary.LittleEndian
	for len(notes) >= 12 {
		nameLen, descLen, typ := uint64(le.Uint32(notes)), uint64(le.Uint32(notes[4:])), le.Uint32(notes[8:])
		notes = notes[12:]
		descAt := (nameLen + 3) &^ 3
		next := descAt + (descLen+3)&^3
		if next > uint64(len(notes)) {
			return nil
		}
		name, desc := notes[:nameLen], notes[descAt:][:descLen]
		notes = notes[next:]
		if typ != notePhys32Entry || string(name) != noteOwnerXen {
			continue
		}
		switch descLen { // 8 bytes in a 64-bit Linux; 4 are as good
		case 4:
			e.pvhEntry = uint64(le.Uint32(desc))
		case 8:
			e.pvhEntry = le.Uint64(desc)
		}
	}
	return nil
}

// finish sorts the segments and checks them, and the entries, against each other.
func (e *elfFile) finish(entry uint64) error {
	if len(e.segments) == 0 {
		return errors.New("ELF file with nothing to load: not a kernel")
	}
	slices.SortFunc(e.segments, func(a, b segment) int {
		if a.gpa < b.gpa {
			return -1
		}
		return 1
	})
	for i := 1; i < len(e.segments); i++ {
		if a, b := e.segments[i-1], e.segments[i]; a.end() > b.gpa {
			return fmt.Errorf("ELF segments overlap: %#x-%#x and %#x-%#x", a.gpa, a.end(), b.gpa, b.end())
		}
	}
	var ok bool
	if e.entry, ok = e.physical(entry); !ok {
		return fmt.Errorf("ELF entry %#x lies in no segment", entry)
	}
	if e.pvhEntry != 0 {
		if !e.loaded(e.pvhEntry) || e.pvhEntry>>32 != 0 {
			return fmt.Errorf("PVH entry %#x lies in no segment below 4 GiB", e.pvhEntry)
		}
	}
	return nil
}

// physical turns an entry into a physical address. That of a Linux kernel is one
// already; others state a virtual one.
func (e *elfFile) physical(entry uint64) (uint64, bool) {
	if e.loaded(entry) {
		return entry, true
	}
	for _, s := range e.segments {
		if off := entry - s.vaddr; off < s.memSize {
			return s.gpa + off, true
		}
	}
	return 0, false
}

func (e *elfFile) loaded(gpa uint64) bool {
	for _, s := range e.segments {
		if gpa-s.gpa < s.memSize {
			return true
		}
	}
	return false
}

// errTruncated is wrapped by errors about a file that ends too early.
var errTruncated = errors.New("truncated file")

// readAt fills p from offset off of a file of size bytes.
func readAt(r io.ReaderAt, p []byte, off, size uint64) error {
	if off > size || uint64(len(p)) > size-off {
		return fmt.Errorf("%w: %d bytes at offset %d wanted, it has %d", errTruncated, len(p), off, size)
	}
	n, err := r.ReadAt(p, int64(off))
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		return fmt.Errorf("%w: it shrank while it was read", errTruncated)
	}
	return err
}
