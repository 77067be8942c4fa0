package boot

import (
	"errors"
	"slices"
	"testing"

	"github.com/gureum/gureum/guest/memory"
)

// FuzzSetup boots kernels that state anything, in machines of any size, with any
// command line: whatever Setup accepts has to be sound.
func FuzzSetup(f *testing.F) {
	f.Add(uint16(64), uint64(0x200_0000), uint64(1<<32-1), []byte(nil), "console=ttyS0", uint32(5000), uint32(70000), uint64(0x9_E000), uint64(0x9_FC10))
	f.Add(uint16(5000), uint64(0), uint64(0), header(0x20F, 2047), "", uint32(0), uint32(1), uint64(0xE000_0000), uint64(0xF000_0000))
	f.Add(uint16(33), uint64(1<<63), uint64(1<<63), header(0x205, 0), "\x00", uint32(1<<31), uint32(0), uint64(1<<63), uint64(1<<63+1))
	f.Add(uint16(40), uint64(0x110_0000), uint64(0x7FFF_FFFF), []byte{1, 2, 3}, "quiet", uint32(4096), uint32(4095), uint64(0x180_0000), uint64(0x190_0001))
	f.Fuzz(func(t *testing.T, sizeMiB uint16, highest, initrdMax uint64, head []byte, line string,
		size1, size2 uint32, holeStart, holeEnd uint64,
	) {
		m, err := memory.New(memory.Config{Size: (32 + uint64(sizeMiB)%8192) * mib})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		k := KernelInfo{Entry: 0x100_0000, PVHEntry: 0x100_0000, HighestGPA: highest, InitrdMax: initrdMax, SetupHeader: head}
		p := Params{
			Cmdline: line, RSDP: 0xE_0000, Reserved: []Range{{holeStart, holeEnd}},
			Initrd: []Piece{ReaderPiece("a", ones{}, fuzzSize(size1)), ReaderPiece("b", ones{}, fuzzSize(size2))},
		}
		for _, protocol := range []Protocol{PVH, Linux64} {
			p.Protocol = protocol
			e, err := Setup(m, k, p)
			if err != nil {
				var room *InitrdError
				if !errors.As(err, &room) && !errors.Is(err, ErrCmdline) && !errors.Is(err, errBackwards) {
					t.Fatalf("error %v", err)
				}
				return
			}
			v := view{}
			if protocol == PVH {
				v = readPVH(t, m, e.Arg)
			} else {
				v = readZeroPage(t, m, e.Arg)
			}
			v.check(t, m, k, p.Reserved)
			if v.cmdline != line {
				t.Errorf("command line %q became %q", line, v.cmdline)
			}
			if want := totalSize(p.Initrd); v.initrd.End-v.initrd.Start != want {
				t.Errorf("initrd %#x, want %d bytes", v.initrd, want)
			}
		}
	})
}

// fuzzSize keeps what is copied small, and lets some sizes be far too large.
func fuzzSize(n uint32) uint64 {
	if n >= 1<<31 {
		return uint64(n) << 30
	}
	return uint64(n) % 100_000
}

// FuzzPlace asks for sizes that no test can copy.
func FuzzPlace(f *testing.F) {
	f.Add(uint64(3*gib), uint64(32*mib), uint64(1<<32-1), uint64(gib), uint64(gib), uint64(gib+1))
	f.Add(uint64(64*mib), uint64(0), uint64(0), uint64(1), uint64(0), uint64(0))
	f.Add(uint64(1<<63), uint64(1<<64-1), uint64(1<<64-1), uint64(1<<63), uint64(1<<64-1), uint64(1<<64-1))
	f.Fuzz(func(t *testing.T, ramEnd, highest, initrdMax, size, holeStart, holeEnd uint64) {
		ramEnd %= memory.HoleStart + 1
		if size == 0 || holeStart > holeEnd {
			return
		}
		k := KernelInfo{HighestGPA: highest, InitrdMax: initrdMax}
		holes, err := mergeReserved([]Range{{holeStart, holeEnd}})
		if err != nil {
			t.Fatal(err)
		}
		start, err := place(k, size, Range{0, ramEnd}, ramEnd, holes)
		if err != nil {
			var room *InitrdError
			if !errors.As(err, &room) || room.Room > ramEnd {
				t.Fatalf("error %v", err)
			}
			return
		}
		end := start + size
		switch {
		case start%memory.PageBytes != 0, end < start, end > ramEnd, start < mib, start < highest,
			initrdMax != 0 && end-1 > initrdMax, initrdMax == 0 && end-1 > defaultInitrdMax,
			slices.ContainsFunc(holes, func(h Range) bool { return start < h.End && h.Start < end }):
			t.Errorf("%d bytes at %#x", size, start)
		}
	})
}
