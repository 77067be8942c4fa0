package kernel

import (
	"encoding/binary"
	"io"

	"github.com/gureum/gureum/guest/memory"
)

// elfPlan lays out an ELF file that holds nothing but what a machine needs of
// another: the segments, each congruent to its GPA modulo the page size so that
// it can be mapped, and the PVH note. A vmlinux with debug data is ten times that.
type elfPlan struct {
	elf  *elfFile
	from []segment // in the original
	to   []segment // offsets in the copy
	note uint64    // offset of the PVH note, 0 for none
	size uint64
}

const pvhNoteSize = 12 + 4 + 8

func planELF(elf *elfFile) elfPlan {
	p := elfPlan{elf: elf, from: elf.segments}
	at := uint64(elfHeaderSize + (len(elf.segments)+1)*elfSegmentSize)
	if elf.pvhEntry != 0 {
		p.note = at
		at += pvhNoteSize
	}
	for _, s := range elf.segments {
		// The next offset that is congruent to the GPA.
		at += (s.gpa - at) % memory.PageBytes
		s.offset = at
		at += s.fileSize
		p.to = append(p.to, s)
	}
	p.size = at
	return p
}

// write makes the copy in dst, which is zero and has p.size bytes, from the
// original of size bytes.
func (p elfPlan) write(dst []byte, from io.ReaderAt, size uint64) error {
	for i, s := range p.from {
		if err := readAt(from, dst[p.to[i].offset:][:s.fileSize], s.offset, size); err != nil {
			return err
		}
	}
	le := binary.LittleEndian
	copy(dst, elfMagic)
	dst[4], dst[5], dst[6] = elfClass64, elfLittle, 1
	le.PutUint16(dst[16:], elfTypeExec)
	le.PutUint16(dst[18:], machineAMD64)
	le.PutUint32(dst[20:], 1)
	le.PutUint64(dst[24:], p.elf.entry)
	le.PutUint64(dst[32:], elfHeaderSize)
	le.PutUint16(dst[52:], elfHeaderSize)
	le.PutUint16(dst[54:], elfSegmentSize)
	headers := dst[elfHeaderSize:]
	count := 0
	add := func(kind, flags uint32, s segment) {
		h := headers[count*elfSegmentSize:]
		le.PutUint32(h, kind)
		le.PutUint32(h[4:], flags)
		for i, v := range [...]uint64{s.offset, s.vaddr, s.gpa, s.fileSize, s.memSize} {
			le.PutUint64(h[8+8*i:], v)
		}
		count++
	}
	for _, s := range p.to {
		add(segmentLoad, 7, s)
	}
	if p.note != 0 {
		add(segmentNote, 4, segment{offset: p.note, fileSize: pvhNoteSize, memSize: pvhNoteSize})
		n := dst[p.note:]
		le.PutUint32(n, uint32(len(noteOwnerXen)))
		le.PutUint32(n[4:], 8)
		le.PutUint32(n[8:], notePhys32Entry)
		copy(n[12:], noteOwnerXen)
		le.PutUint64(n[16:], p.elf.pvhEntry)
	}
	le.PutUint16(dst[56:], uint16(count))
	return nil
}
