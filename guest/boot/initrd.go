package boot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/gureum/gureum/guest/memory"
)

// Piece is one part of the initial RAM disk: a cpio archive, compressed or not,
// or several of them. Between pieces lie zero bytes up to the next page, which
// kernels skip (driver-api/early-userspace/buffer-format.rst).
type Piece struct {
	// Name is for messages.
	Name string
	// Size in bytes.
	Size uint64

	reader io.ReaderAt
}

// BytesPiece is a piece out of memory. b must not change until Setup is done.
func BytesPiece(name string, b []byte) Piece {
	return Piece{Name: name, Size: uint64(len(b)), reader: bytes.NewReader(b)}
}

// ReaderPiece is a piece of size bytes that is copied from r.
func ReaderPiece(name string, r io.ReaderAt, size uint64) Piece {
	return Piece{Name: name, Size: size, reader: r}
}

// FilePiece is a whole regular file, which may be closed after Setup. It is copied:
// Linux overwrites every page of an initrd when it has unpacked it
// (free_initrd_mem), so none of a mapping would stay shared.
func FilePiece(f *os.File) (Piece, error) {
	st, err := f.Stat()
	if err != nil {
		return Piece{}, fmt.Errorf("initrd: %w", err)
	}
	if !st.Mode().IsRegular() {
		return Piece{}, fmt.Errorf("initrd %s: not a regular file", f.Name())
	}
	return Piece{Name: f.Name(), Size: uint64(st.Size()), reader: f}, nil
}

// InitrdError says that an initrd does not fit: into memory, beside the kernel,
// and below the address that the kernel can reach.
type InitrdError struct {
	// Size of the initrd with the padding between its pieces, and of guest memory,
	// in bytes.
	Size, Memory uint64
	// Room is how many bytes are free for it.
	Room uint64
}

func (e *InitrdError) Error() string {
	text := fmt.Sprintf("initrd of %d MiB does not fit into %d MiB of guest memory", mebibytes(e.Size), e.Memory>>20)
	if e.Size > e.Memory {
		return text
	}
	return fmt.Sprintf("%s: behind the kernel there is room for %d MiB", text, e.Room>>20)
}

// mebibytes rounds up: 1 byte too much is not "64 MiB into 64 MiB".
func mebibytes(n uint64) uint64 {
	if n&(1<<20-1) == 0 {
		return n >> 20
	}
	return n>>20 + 1
}

// CheckInitrd tells, before there is a machine, whether an initrd can fit into
// size bytes of guest memory beside a kernel; what is not known of the kernel
// yet may be zero. The error is an *InitrdError.
func CheckInitrd(size uint64, k KernelInfo, pieces []Piece) error {
	low := min(size, memory.HoleStart)
	_, err := place(k, totalSize(pieces), Range{0, low}, size, fixedReserved[:])
	return err
}

// totalSize is the size from the first byte of the first piece to the last byte
// of the last one, or more than any memory if that overflows.
func totalSize(pieces []Piece) uint64 {
	var total uint64
	for _, p := range pieces {
		total = pageUp(total)
		if p.Size > math.MaxInt64-total {
			return math.MaxInt64
		}
		total += p.Size
	}
	return total
}

func pageUp(n uint64) uint64   { return (n + memory.PageBytes - 1) &^ (memory.PageBytes - 1) }
func pageDown(n uint64) uint64 { return n &^ (memory.PageBytes - 1) }

// defaultInitrdMax is what kernels took before their header said so (2.03).
const defaultInitrdMax = 0x37FF_FFFF

// place finds the highest free pages for size bytes: in the RAM below the MMIO
// hole, behind the kernel, where the kernel reaches them, not in a hole.
func place(k KernelInfo, size uint64, ram Range, memorySize uint64, holes []Range) (uint64, error) {
	reach := k.InitrdMax
	if reach == 0 {
		reach = defaultInitrdMax
	}
	bottom := pageUp(max(min(k.HighestGPA, ram.End), memory.KernelStart))
	top := ram.End
	if reach < top {
		top = reach + 1
	}
	room := uint64(0)
	for i := len(holes) - 1; i >= -1; i-- {
		// Above the i-th hole, below the one before.
		floor := bottom
		if i >= 0 {
			floor = max(floor, pageUp(holes[i].End))
		}
		if top > floor {
			if room = max(room, top-floor); size <= top-floor {
				if start := pageDown(top - size); start >= floor {
					return start, nil
				}
			}
		}
		if i >= 0 {
			top = min(top, holes[i].Start)
		}
	}
	return 0, &InitrdError{Size: size, Memory: memorySize, Room: room}
}

// loadInitrd puts the pieces into memory and returns where they lie.
func loadInitrd(m *memory.Memory, k KernelInfo, p Params) (Range, error) {
	size := totalSize(p.Initrd)
	if size == 0 {
		return Range{}, nil
	}
	holes, err := mergeReserved(p.Reserved)
	if err != nil {
		return Range{}, err
	}
	regions := m.Regions()
	if len(regions) == 0 {
		return Range{}, memory.ErrClosed
	}
	low := Range{regions[0].GPA, regions[0].GPA + regions[0].Size}
	start, err := place(k, size, low, m.Size(), holes)
	if err != nil {
		return Range{}, err
	}
	at := start
	for _, piece := range p.Initrd {
		at = pageUp(at)
		if err := piece.load(m, at); err != nil {
			return Range{}, fmt.Errorf("initrd %s: %w", piece.Name, err)
		}
		at += piece.Size
	}
	return Range{start, start + size}, nil
}

// load copies a piece to gpa.
func (p Piece) load(m *memory.Memory, gpa uint64) error {
	view, err := m.Slice(gpa, p.Size)
	if err != nil {
		return err
	}
	n, err := io.ReadFull(io.NewSectionReader(p.reader, 0, int64(len(view))), view)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("ends after %d of %d bytes: was it changed meanwhile?", n, p.Size)
	}
	return err
}
