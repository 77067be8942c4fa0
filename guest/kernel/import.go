package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/memory"
)

// elfPlan lays out an ELF file that holds nothing but what a machine needs of
// another: the segments without the zeros at their ends, each congruent to its
// GPA modulo the page size so that it can be mapped, and the PVH note. A vmlinux
// with debug data is ten times that.
type elfPlan struct {
	elf  *elfFile
	from []segment // in the original
	to   []segment // in the copy
	note uint64    // offset of the PVH note, 0 for none
	size uint64
}

const pvhNoteSize = 12 + 4 + 8

// planELF plans the copy of an ELF file that parseELF accepted.
func planELF(elf *elfFile, r io.ReaderAt) (elfPlan, error) {
	p := elfPlan{elf: elf}
	at := uint64(elfHeaderSize + (len(elf.segments)+1)*elfSegmentSize)
	if elf.pvhEntry != 0 {
		p.note = at
		at += pvhNoteSize
	}
	for _, s := range elf.segments {
		var err error
		if s.fileSize, err = usedBytes(r, s.offset, s.fileSize); err != nil {
			return elfPlan{}, err
		}
		p.from = append(p.from, s)
		at += (s.gpa - at) % memory.PageBytes // the next offset congruent to the GPA
		s.offset = at
		at += s.fileSize
		p.to = append(p.to, s)
	}
	p.size = at
	return p, nil
}

// usedBytes is n without the zeros at the end of the n bytes at off.
func usedBytes(r io.ReaderAt, off, n uint64) (uint64, error) {
	var buf [64 << 10]byte
	for n > 0 {
		chunk := buf[:min(n, uint64(len(buf)))]
		start := n - uint64(len(chunk))
		if err := readAt(r, chunk, off+start, off+n); err != nil {
			return 0, err
		}
		if used := lastNonZero(chunk); used > 0 {
			return start + uint64(used), nil
		}
		n = start
	}
	return 0, nil
}

// head is the copy's bytes before its first segment.
func (p elfPlan) head() []byte {
	le := binary.LittleEndian
	b := make([]byte, elfHeaderSize+(len(p.to)+1)*elfSegmentSize+pvhNoteSize)
	copy(b, elfMagic)
	b[4], b[5], b[6] = elfClass64, elfLittle, 1
	le.PutUint16(b[16:], elfTypeExec)
	le.PutUint16(b[18:], machineAMD64)
	le.PutUint32(b[20:], 1)
	le.PutUint64(b[24:], p.elf.entry)
	le.PutUint64(b[32:], elfHeaderSize)
	le.PutUint16(b[52:], elfHeaderSize)
	le.PutUint16(b[54:], elfSegmentSize)
	count := 0
	add := func(kind, flags uint32, s segment) {
		h := b[elfHeaderSize+count*elfSegmentSize:]
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
	end := uint64(elfHeaderSize + (len(p.to)+1)*elfSegmentSize)
	if p.note != 0 {
		add(segmentNote, 4, segment{offset: p.note, fileSize: pvhNoteSize, memSize: pvhNoteSize})
		n := b[p.note:]
		le.PutUint32(n, uint32(len(noteOwnerXen)))
		le.PutUint32(n[4:], 8)
		le.PutUint32(n[8:], notePhys32Entry)
		copy(n[12:], noteOwnerXen)
		le.PutUint64(n[16:], p.elf.pvhEntry)
		end = p.note + pvhNoteSize
	}
	le.PutUint16(b[56:], uint16(count))
	return b[:end]
}

// write makes the copy in f, which is empty and has room behind it.
func (p elfPlan) write(f *os.File, from io.ReaderAt) error {
	if err := f.Truncate(int64(p.size)); err != nil {
		return err
	}
	if _, err := f.WriteAt(p.head(), 0); err != nil {
		return err
	}
	for i, s := range p.from {
		if s.fileSize == 0 {
			continue
		}
		if _, err := f.Seek(int64(p.to[i].offset), io.SeekStart); err != nil {
			return err
		}
		if err := sendBytes(f, from, s.offset, s.fileSize); err != nil {
			return fmt.Errorf("copy %d bytes at %d: %w", s.fileSize, s.offset, err)
		}
	}
	return nil
}

// sendBytes appends n bytes at off of r to f, inside the host kernel if it can.
func sendBytes(f *os.File, r io.ReaderAt, off, n uint64) error {
	in, ok := r.(*os.File)
	for at := int64(off); ok && n > 0; {
		sent, err := unix.Sendfile(int(f.Fd()), int(in.Fd()), &at, int(min(n, 1<<30)))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil && cannot(err):
			ok = false
		case err != nil:
			return err
		case sent == 0:
			return errTruncated
		}
		if sent > 0 {
			n -= uint64(sent)
			off += uint64(sent)
		}
	}
	if n == 0 {
		return nil
	}
	copied, err := io.Copy(f, io.NewSectionReader(r, int64(off), int64(n)))
	if err == nil && uint64(copied) != n {
		err = errTruncated
	}
	return err
}

// importELF puts what machines need of the ELF file into the cache, under the
// file's identity; hashing it would cost more than mapping saves. It returns
// nothing if there is no sense in that.
func (img *Image) importELF(key string, o Options) (*os.File, uint64, error) {
	var sum uint64
	for _, s := range img.elf.segments {
		sum += s.fileSize // of up to 128 parts of one file: cannot overflow
	}
	if sum > maxUnpacked {
		return nil, 0, nil
	}
	plan, err := planELF(img.elf, img.file)
	if err != nil {
		return nil, 0, err
	}
	c, err := makeCache(o.CacheDir)
	if err != nil {
		return nil, 0, err
	}
	out, err := newCacheFile(c, plan.size)
	if err != nil {
		return nil, 0, err
	}
	if err := plan.write(out.f, img.file); err != nil {
		return nil, 0, errors.Join(err, out.discard())
	}
	f, err := out.commit(trailer{name: statName(key), label: img.name, format: FormatELF})
	return f, plan.size, err
}
