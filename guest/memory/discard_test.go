package memory

import (
	"bytes"
	"errors"
	"testing"
)

// resident is how much of the region that addr lies in is resident, in KiB, over
// all mappings it consists of.
func resident(t *testing.T, r Region) int {
	t.Helper()
	sum := 0
	for _, v := range maps(t) {
		if v.start >= uint64(r.Host) && v.start < uint64(r.Host)+r.Size {
			sum += v.rssKiB
		}
	}
	return sum
}

func TestDiscardGivesMemoryBack(t *testing.T) {
	m := newMemory(t, Config{Size: 64 << 20})
	const at, n = 4 << 20, 16 << 20
	mem, err := m.Slice(at, n)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < n; i += PageBytes {
		mem[i] = 1
	}
	r := m.Regions()[0]
	before := resident(t, r)
	if err := m.Discard(at+PageBytes, n-2*PageBytes); err != nil {
		t.Fatal(err)
	}
	after := resident(t, r)
	t.Logf("resident: %d KiB before, %d KiB after", before, after)
	if before < n>>10 || after > 64 {
		t.Errorf("resident: %d KiB before, %d KiB after", before, after)
	}
	if mem[0] != 1 || mem[n-PageBytes] != 1 {
		t.Error("a page outside the range is gone")
	}
	for i := PageBytes; i < n-PageBytes; i += PageBytes {
		if mem[i] != 0 {
			t.Fatalf("page at %#x is not zero", at+i)
		}
	}
}

func TestDiscardRefuses(t *testing.T) {
	m := newMemory(t, Config{Size: 64 << 20})
	for _, r := range [][2]uint64{{1, PageBytes}, {0, 1}} {
		if m.Discard(r[0], r[1]) == nil {
			t.Errorf("%#x bytes at %#x are discarded", r[1], r[0])
		}
	}
	var access *AccessError
	for _, r := range [][2]uint64{{64 << 20, PageBytes}, {(64 << 20) - PageBytes, 2 * PageBytes}, {1 << 63, 1 << 63}} {
		if err := m.Discard(r[0], r[1]); !errors.As(err, &access) {
			t.Errorf("%#x bytes at %#x: %v", r[1], r[0], err)
		}
	}
	if err := m.DiscardSlice(make([]byte, 3*PageBytes)); !errors.As(err, &access) {
		t.Errorf("memory that is not the guest's: %v", err)
	}
}

func TestDiscardSliceKeepsPartsOfPages(t *testing.T) {
	m := newMemory(t, Config{Size: 64 << 20})
	mem, _ := m.Slice(8<<20, 4*PageBytes)
	for i := range mem {
		mem[i] = 7
	}
	if err := m.DiscardSlice(mem[100 : 3*PageBytes+100]); err != nil {
		t.Fatal(err)
	}
	want := append(bytes.Repeat([]byte{7}, PageBytes), make([]byte, 2*PageBytes)...)
	want = append(want, bytes.Repeat([]byte{7}, PageBytes)...)
	if !bytes.Equal(mem, want) {
		t.Error("discarded something else than the two whole pages")
	}
	if err := m.DiscardSlice(mem[1:PageBytes]); err != nil || mem[1] != 7 {
		t.Errorf("less than a page: %v, %d", err, mem[1])
	}
}

func TestDiscardDoesNotAllocate(t *testing.T) {
	m := newMemory(t, Config{Size: 64 << 20})
	mem, _ := m.Slice(4<<20, 2<<20)
	if n := testing.AllocsPerRun(100, func() {
		mem[0] = 1
		if err := m.DiscardSlice(mem); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDiscard(f *testing.F) {
	f.Add(uint64(0), uint64(PageBytes), uint16(0), uint16(100))
	f.Add(uint64(33<<20), uint64(3<<20), uint16(4095), uint16(8191))
	f.Fuzz(func(t *testing.T, gpa, n uint64, from, size uint16) {
		m := newMemory(t, Config{Size: 32 << 20})
		if err := m.WriteAt(bytes.Repeat([]byte{5}, 64*PageBytes), 2<<20); err != nil {
			t.Fatal(err)
		}
		if m.Discard(gpa, n) == nil && n > 0 {
			mem, _ := m.Slice(gpa, PageBytes)
			if !bytes.Equal(mem, make([]byte, PageBytes)) {
				t.Errorf("the page at %#x is not zero", gpa)
			}
		}
		mem, _ := m.Slice(2<<20+uint64(from), uint64(size))
		if err := m.DiscardSlice(mem); (err == nil) != (size > 0) {
			t.Errorf("view of %d bytes: %v", size, err)
		}
	})
}
