package boot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gureum/gureum/guest/memory"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// elf is a kernel as guest/kernel loads one from an ELF file with a PVH note.
var elf = KernelInfo{
	Entry: 0x100_0000, PVHEntry: 0x100_1000, HighestGPA: 0x200_0123, InitrdMax: 1<<32 - 1,
}

// header is the setup header of a bzImage with the fields that are looked at.
func header(version uint16, cmdlineSize uint32) []byte {
	page := make([]byte, 0x270)
	page[0x1F1] = 27                                     // setup_sects
	binary.LittleEndian.PutUint16(page[0x1FE:], 0xAA55)  // boot_flag
	copy(page[0x202:], "HdrS")                           // header
	binary.LittleEndian.PutUint16(page[0x206:], version) // version
	page[0x211] = 1                                      // loadflags: LOADED_HIGH
	binary.LittleEndian.PutUint32(page[0x22C:], 0x7FFF_FFFF)
	binary.LittleEndian.PutUint32(page[0x238:], cmdlineSize)
	binary.LittleEndian.PutUint64(page[0x250:], 0xDEAD) // setup_data
	binary.LittleEndian.PutUint64(page[0x258:], 0x100_0000)
	return page[0x1F1:]
}

func newMemory(t testing.TB, size uint64) *memory.Memory {
	t.Helper()
	m, err := memory.New(memory.Config{Size: size})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// view is what a kernel makes of guest memory at its entry.
type view struct {
	cmdline string
	initrd  Range
	rsdp    uint64
	ram     []Range
	held    []Range
}

func read(t testing.TB, m *memory.Memory, gpa, n uint64) []byte {
	t.Helper()
	b := make([]byte, n)
	if err := m.ReadAt(b, gpa); err != nil {
		t.Fatal(err)
	}
	return b
}

func cString(t testing.TB, m *memory.Memory, gpa uint64) string {
	t.Helper()
	b := read(t, m, gpa, memory.CommandLineMax)
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		t.Fatal("the command line has no end")
	}
	return string(b[:i])
}

func (v *view) add(addr, size uint64, kind uint32) {
	r := Range{addr, addr + size}
	if kind == 1 {
		v.ram = append(v.ram, r)
	} else {
		v.held = append(v.held, r)
	}
}

// readPVH decodes hvm_start_info by the offsets that its header file draws.
func readPVH(t testing.TB, m *memory.Memory, gpa uint64) (v view) {
	t.Helper()
	le := binary.LittleEndian
	b := read(t, m, gpa, 56)
	if le.Uint32(b) != 0x336ec578 || le.Uint32(b[4:]) != 1 || le.Uint32(b[8:]) != 0 || le.Uint32(b[52:]) != 0 {
		t.Fatalf("start_info % x", b)
	}
	v.cmdline, v.rsdp = cString(t, m, le.Uint64(b[24:])), le.Uint64(b[32:])
	switch modules := le.Uint32(b[12:]); modules {
	case 0:
	case 1:
		mod := read(t, m, le.Uint64(b[16:]), 32)
		v.initrd = Range{le.Uint64(mod), le.Uint64(mod) + le.Uint64(mod[8:])}
		if le.Uint64(mod[16:]) != 0 || le.Uint64(mod[24:]) != 0 {
			t.Errorf("module % x", mod)
		}
	default:
		t.Fatalf("%d modules", modules)
	}
	for i := range uint64(le.Uint32(b[48:])) {
		e := read(t, m, le.Uint64(b[40:])+24*i, 24)
		if le.Uint32(e[20:]) != 0 {
			t.Errorf("memory map entry % x", e)
		}
		v.add(le.Uint64(e), le.Uint64(e[8:]), le.Uint32(e[16:]))
	}
	return v
}

// readZeroPage decodes struct boot_params by the offsets of zero-page.rst.
func readZeroPage(t testing.TB, m *memory.Memory, gpa uint64) (v view) {
	t.Helper()
	le := binary.LittleEndian
	b := read(t, m, gpa, 4096)
	if le.Uint16(b[0x1FE:]) != 0xAA55 || string(b[0x202:0x206]) != "HdrS" || b[0x210] != 0xFF || b[0x211]&1 == 0 {
		t.Fatalf("setup header % x", b[0x1F1:0x270])
	}
	if b[0x1EF] != 0 {
		t.Error("the sentinel is set: the kernel would clear the page")
	}
	if le.Uint64(b[0x250:]) != 0 {
		t.Error("setup_data is not the loader's")
	}
	v.rsdp = le.Uint64(b[0x70:])
	v.cmdline = cString(t, m, uint64(le.Uint32(b[0x228:]))|uint64(le.Uint32(b[0xC8:]))<<32)
	start := uint64(le.Uint32(b[0x218:])) | uint64(le.Uint32(b[0xC0:]))<<32
	v.initrd = Range{start, start + (uint64(le.Uint32(b[0x21C:])) | uint64(le.Uint32(b[0xC4:]))<<32)}
	for i := range int(b[0x1E8]) {
		e := b[0x2D0+20*i:]
		v.add(le.Uint64(e), le.Uint64(e[8:]), le.Uint32(e[16:]))
	}
	return v
}

// check holds what has to be true of every view.
func (v *view) check(t testing.TB, m *memory.Memory, k KernelInfo, reserved []Range) {
	t.Helper()
	all := append(append([]Range(nil), v.ram...), v.held...)
	for i, a := range all {
		if a.Start >= a.End {
			t.Errorf("memory map: empty range %#x", a)
		}
		for _, b := range all[:i] {
			if a.Start < b.End && b.Start < a.End {
				t.Errorf("memory map: %#x and %#x overlap", a, b)
			}
		}
	}
	for _, r := range v.ram {
		if !m.Contains(r.Start, r.End-r.Start) {
			t.Errorf("memory map: RAM %#x is not RAM", r)
		}
		for _, h := range reserved {
			if r.Start < h.End && h.Start < r.End && h.Start < h.End {
				t.Errorf("memory map: RAM %#x is reserved by %#x", r, h)
			}
		}
	}
	if v.initrd.Start == v.initrd.End {
		return
	}
	if v.initrd.Start%4096 != 0 || v.initrd.Start < k.HighestGPA || v.initrd.Start < mib {
		t.Errorf("initrd %#x overlaps the kernel, which ends at %#x", v.initrd, k.HighestGPA)
	}
	if limit := k.InitrdMax; limit != 0 && v.initrd.End-1 > limit || limit == 0 && v.initrd.End > 0x3800_0000 {
		t.Errorf("initrd %#x beyond the kernel's limit %#x", v.initrd, limit)
	}
	for _, r := range v.ram {
		if r.Start <= v.initrd.Start && v.initrd.End <= r.End {
			return
		}
	}
	t.Errorf("initrd %#x not in usable RAM %#x", v.initrd, v.ram)
}

// setup boots with both protocols and returns what each shows, in turn.
func setup(t *testing.T, size uint64, k KernelInfo, p Params) []view {
	t.Helper()
	var views []view
	for _, protocol := range []Protocol{PVH, Linux64} {
		m := newMemory(t, size)
		p.Protocol = protocol
		e, err := Setup(m, k, p)
		if err != nil {
			t.Fatalf("%s: %v", protocol, err)
		}
		var v view
		if protocol == PVH {
			if e != (Entry{PVH, k.PVHEntry, 0x6000, 0, 0}) {
				t.Errorf("entry %+v", e)
			}
			v = readPVH(t, m, e.Arg)
		} else {
			if e != (Entry{Linux64, k.Entry, 0x7000, 0x9000, 0x500}) {
				t.Errorf("entry %+v", e)
			}
			v = readZeroPage(t, m, e.Arg)
			checkPaging(t, m, e)
		}
		v.check(t, m, k, p.Reserved)
		views = append(views, v)
	}
	return views
}

// checkPaging walks the page tables as the CPU does.
func checkPaging(t *testing.T, m *memory.Memory, e Entry) {
	t.Helper()
	gdt := read(t, m, e.GDT, GDTBytes)
	if binary.LittleEndian.Uint64(gdt) != 0 {
		t.Error("the null descriptor is not null")
	}
	if code := binary.LittleEndian.Uint64(gdt[CodeSelector:]); code>>40&0xFF != 0x9B || code>>53&3 != 1 {
		t.Errorf("code segment %#x: want present, executable, 64-bit", code)
	}
	if data := binary.LittleEndian.Uint64(gdt[DataSelector:]); data>>40&0xFF != 0x93 {
		t.Errorf("data segment %#x: want present, writable", data)
	}
	entry := func(table, index uint64) uint64 {
		v, err := m.ReadU64(table&^0xFFF + 8*index)
		if err != nil {
			t.Fatal(err)
		}
		if v&3 != 3 {
			t.Fatalf("entry %d of table %#x is %#x: not present and writable", index, table, v)
		}
		return v
	}
	for _, va := range []uint64{0, 0x7123, 0x10_0000, 0x100_0000, 0x3FFF_FFFF, 0x4000_0000, 0xBFFF_FFFF, 0xFEE0_0000, 1<<32 - 1} {
		pde := entry(entry(entry(e.PageTable, va>>39&511), va>>30&511), va>>21&511)
		if pde&0x80 == 0 || pde&^0x1F_FFFF|va&0x1F_FFFF != va {
			t.Errorf("%#x is mapped by %#x", va, pde)
		}
	}
}

func TestMemoryMap(t *testing.T) {
	tests := []struct {
		size      uint64
		reserved  []Range
		ram, held []Range
	}{
		{
			size: 64 * mib,
			ram:  []Range{{0, 0x9_FC00}, {mib, 64 * mib}},
			held: []Range{{0x9_FC00, mib}, {0xFEFF_C000, 0xFF00_0000}},
		},
		{
			size: 6 * gib,
			ram:  []Range{{0, 0x9_FC00}, {mib, 3 * gib}, {4 * gib, 7 * gib}},
			held: []Range{{0x9_FC00, mib}, {0xFEFF_C000, 0xFF00_0000}},
		},
		{
			size:     64 * mib,
			reserved: []Range{{0x9_E480, 0x9_FC10}, {0xE000_0000, 0xF000_0000}, {32 * mib, 33 * mib}, {5, 5}},
			ram:      []Range{{0, 0x9_E480}, {mib, 32 * mib}, {33 * mib, 64 * mib}},
			held:     []Range{{0x9_E480, mib}, {32 * mib, 33 * mib}, {0xE000_0000, 0xF000_0000}, {0xFEFF_C000, 0xFF00_0000}},
		},
	}
	for _, tt := range tests {
		for _, v := range setup(t, tt.size, elf, Params{Reserved: tt.reserved}) {
			if got, want := fmt.Sprintf("%#x", v.ram), fmt.Sprintf("%#x", tt.ram); got != want {
				t.Errorf("RAM %s, want %s", got, want)
			}
			if got, want := fmt.Sprintf("%#x", v.held), fmt.Sprintf("%#x", tt.held); got != want {
				t.Errorf("reserved %s, want %s", got, want)
			}
		}
	}
}

func TestMemoryMapErrors(t *testing.T) {
	m := newMemory(t, 64*mib)
	if _, err := Setup(m, elf, Params{Reserved: []Range{{2, 1}}}); !errors.Is(err, errBackwards) {
		t.Errorf("error %v", err)
	}
	var many []Range
	for i := range uint64(200) {
		many = append(many, Range{2*mib + i*8192, 2*mib + i*8192 + 4096})
	}
	if _, err := Setup(m, elf, Params{Reserved: many}); err == nil {
		t.Error("a memory map that fits in no boot structure was taken")
	}
}

func TestCommandLine(t *testing.T) {
	bz := elf
	bz.SetupHeader = header(0x20F, 2047)
	generous, old := bz, bz
	generous.SetupHeader = header(0x20F, math.MaxUint32)
	old.SetupHeader = header(0x205, 2047)
	tests := []struct {
		name string
		k    KernelInfo
		line string
		ok   bool
	}{
		{"empty", elf, "", true},
		{"plain", elf, "console=ttyS0 panic=-1", true},
		{"longest", elf, strings.Repeat("x", 2047), true},
		{"too long", elf, strings.Repeat("x", 2048), false},
		{"header's longest", bz, strings.Repeat("x", 2047), true},
		{"header's too long", bz, strings.Repeat("x", 2048), false},
		{"old kernel", old, strings.Repeat("x", 255), true},
		{"old kernel, too long", old, strings.Repeat("x", 256), false},
		{"all the room", generous, strings.Repeat("x", 65535), true},
		{"more than the room", generous, strings.Repeat("x", 65536), false},
		{"NUL", elf, "a\x00b", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !tt.ok {
				_, err := Setup(newMemory(t, 32*mib), tt.k, Params{Cmdline: tt.line})
				if !errors.Is(err, ErrCmdline) {
					t.Errorf("error %v", err)
				}
				return
			}
			tt.k.HighestGPA = 2 * mib
			for _, v := range setup(t, 32*mib, tt.k, Params{Cmdline: tt.line, RSDP: 0xE_0000}) {
				if v.cmdline != tt.line || v.rsdp != 0xE_0000 {
					t.Errorf("command line %q, RSDP %#x", v.cmdline, v.rsdp)
				}
			}
		})
	}
}

func TestProtocol(t *testing.T) {
	m := newMemory(t, 32*mib)
	only64, onlyPVH := elf, elf
	only64.PVHEntry, onlyPVH.Entry = 0, 0
	tests := []struct {
		k    KernelInfo
		ask  Protocol
		want Protocol // Auto: an error
	}{
		{elf, Auto, PVH},
		{elf, Linux64, Linux64},
		{elf, PVH, PVH},
		{only64, Auto, Linux64},
		{only64, PVH, Auto},
		{onlyPVH, Linux64, Auto},
		{KernelInfo{}, Auto, Auto},
	}
	for _, tt := range tests {
		e, err := Setup(m, tt.k, Params{Protocol: tt.ask})
		if e.Protocol != tt.want || (tt.want == Auto) != errors.Is(err, ErrNoEntry) {
			t.Errorf("%s of %#x: %s, %v", tt.ask, tt.k, e.Protocol, err)
		}
	}
	if _, err := Setup(m, elf, Params{Protocol: 9}); err == nil {
		t.Error("an unknown protocol was taken")
	}
}

// TestSetupHeader keeps what the kernel says of itself.
func TestSetupHeader(t *testing.T) {
	k := elf
	k.SetupHeader = header(0x20F, 4095)
	m := newMemory(t, 64*mib)
	e, err := Setup(m, k, Params{Protocol: Linux64})
	if err != nil {
		t.Fatal(err)
	}
	b := read(t, m, e.Arg, 4096)
	if b[0x1F1] != 27 || binary.LittleEndian.Uint64(b[0x258:]) != 0x100_0000 || binary.LittleEndian.Uint32(b[0x238:]) != 4095 {
		t.Errorf("setup header % x", b[0x1F1:0x270])
	}
	// A header that is longer than its room does not reach what lies behind it.
	k.SetupHeader = bytes.Repeat([]byte{0xEE}, 4096)
	if _, err := Setup(m, k, Params{Protocol: Linux64}); err != nil {
		t.Fatal(err)
	}
	b = read(t, m, e.Arg, 4096)
	if b[0x28F] != 0xEE || b[0x290] != 0 || b[0x1E8] == 0xEE {
		t.Errorf("zero page % x", b[0x1E0:0x2D0])
	}
}

func TestInitrdPlace(t *testing.T) {
	tests := []struct {
		name     string
		memory   uint64
		highest  uint64
		max      uint64
		reserved []Range
		size     uint64
		start    uint64 // 0: does not fit
	}{
		{name: "top of RAM", memory: 64 * mib, highest: 32 * mib, max: 1<<32 - 1, size: 5000, start: 64*mib - 8192},
		{name: "below the hole", memory: 6 * gib, highest: 32 * mib, max: 1<<32 - 1, size: 4096, start: 3*gib - 4096},
		{name: "kernel's limit", memory: 6 * gib, highest: 32 * mib, max: 0x7FFF_FFFF, size: 4097, start: 2*gib - 8192},
		{name: "odd limit", memory: 6 * gib, highest: 32 * mib, max: 0x7FFF_F123, size: 4096, start: 0x7FFF_E000},
		{name: "old kernel", memory: 6 * gib, highest: 32 * mib, max: 0, size: 1, start: 0x37FF_F000},
		{name: "exactly", memory: 64 * mib, highest: 60*mib - 100, max: 1<<32 - 1, size: 4 * mib, start: 60 * mib},
		{name: "one byte too many", memory: 64 * mib, highest: 60*mib - 100, max: 1<<32 - 1, size: 4*mib + 1},
		{name: "larger than memory", memory: 64 * mib, highest: 32 * mib, max: 1<<32 - 1, size: 65 * mib},
		{name: "much larger", memory: 64 * mib, highest: 32 * mib, max: 1<<32 - 1, size: math.MaxUint64},
		{name: "kernel above RAM", memory: 64 * mib, highest: 5 * gib, max: 1<<32 - 1, size: 1},
		{name: "limit in the kernel", memory: 64 * mib, highest: 32 * mib, max: 31 * mib, size: 1},
		{
			name: "below a reserved range", memory: 64 * mib, highest: 32 * mib, max: 1<<32 - 1,
			reserved: []Range{{62 * mib, 63 * mib}}, size: 2 * mib, start: 60 * mib,
		},
		{
			name: "above a reserved range", memory: 64 * mib, highest: 32 * mib, max: 1<<32 - 1,
			reserved: []Range{{62*mib + 1, 63*mib + 1}}, size: mib - 4096, start: 63*mib + 4096,
		},
		{
			name: "no RAM left", memory: 64 * mib, highest: 32 * mib, max: 1<<32 - 1,
			reserved: []Range{{0, 64 * mib}}, size: 1,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := elf
			k.HighestGPA, k.InitrdMax = tt.highest, tt.max
			p := Params{Reserved: tt.reserved, Initrd: []Piece{ReaderPiece("x", ones{}, tt.size)}}
			if tt.start == 0 {
				_, err := Setup(newMemory(t, tt.memory), k, p)
				var bad *InitrdError
				if !errors.As(err, &bad) || bad.Memory != tt.memory {
					t.Errorf("error %v", err)
				}
				return
			}
			for _, v := range setup(t, tt.memory, k, p) {
				if want := (Range{tt.start, tt.start + tt.size}); v.initrd != want {
					t.Errorf("initrd %#x, want %#x", v.initrd, want)
				}
			}
		})
	}
}

// ones is an endless file of the byte 1.
type ones struct{}

func (ones) ReadAt(p []byte, _ int64) (int, error) {
	for i := range p {
		p[i] = 1
	}
	return len(p), nil
}

func TestInitrdMessage(t *testing.T) {
	tests := []struct {
		err  InitrdError
		want string
	}{
		{InitrdError{Size: 100*mib + 1, Memory: 64 * mib}, "initrd of 101 MiB does not fit into 64 MiB of guest memory"},
		{
			InitrdError{Size: 40 * mib, Memory: 64 * mib, Room: 30*mib + 5},
			"initrd of 40 MiB does not fit into 64 MiB of guest memory: behind the kernel there is room for 30 MiB",
		},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

func TestCheckInitrd(t *testing.T) {
	pieces := []Piece{ReaderPiece("x", ones{}, 31*mib)}
	if err := CheckInitrd(32*mib, KernelInfo{}, pieces); err != nil {
		t.Error(err)
	}
	var bad *InitrdError
	if err := CheckInitrd(32*mib, elf, pieces); !errors.As(err, &bad) {
		t.Errorf("error %v", err)
	}
	pieces = append(pieces, pieces...)
	if err := CheckInitrd(32*mib, KernelInfo{}, pieces); !errors.As(err, &bad) || bad.Size != 62*mib {
		t.Errorf("error %v", err)
	}
}

// TestInitrdPieces looks at every byte: what was mapped, what was copied, and
// the padding.
func TestInitrdPieces(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, size int) ([]byte, Piece) {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(i*7+len(name)) | 1
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		p, err := FilePiece(f)
		if err != nil {
			t.Fatal(err)
		}
		return b, p
	}
	for _, sizes := range [][]int{{10}, {4096}, {4097, 12345}, {0, 5}, {5, 0, 8192, 0}, {8191, 3, 4096, 1 << 20}} {
		var pieces []Piece
		var want []byte
		for i, size := range sizes {
			b, p := file(strings.Repeat("f", i+1), size)
			if i%2 == 1 {
				p = BytesPiece("bytes", b)
			}
			want = append(want, make([]byte, pageUp(uint64(len(want)))-uint64(len(want)))...)
			want = append(want, b...)
			pieces = append(pieces, p)
		}
		m := newMemory(t, 64*mib)
		e, err := Setup(m, elf, Params{Initrd: pieces})
		if err != nil {
			t.Fatal(err)
		}
		v := readPVH(t, m, e.Arg)
		if got := read(t, m, v.initrd.Start, v.initrd.End-v.initrd.Start); !bytes.Equal(got, want) {
			t.Errorf("sizes %v: initrd differs", sizes)
		}
	}
}

func TestInitrdFiles(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := FilePiece(dir); err == nil {
		t.Error("a directory was taken as initrd")
	}
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := FilePiece(dir); err == nil {
		t.Error("a closed file was taken as initrd")
	}

	path := filepath.Join(t.TempDir(), "shrinks")
	if err := os.WriteFile(path, make([]byte, 10000), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := FilePiece(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 4000); err != nil {
		t.Fatal(err)
	}
	_, err = Setup(newMemory(t, 64*mib), elf, Params{Initrd: []Piece{p}})
	if err == nil || !strings.Contains(err.Error(), "4000 of 10000") {
		t.Errorf("error %v", err)
	}
}

func TestClosedMemory(t *testing.T) {
	m := newMemory(t, 64*mib)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []Params{{}, {Protocol: Linux64}, {Initrd: []Piece{BytesPiece("b", []byte{1})}}} {
		if _, err := Setup(m, elf, p); !errors.Is(err, memory.ErrClosed) {
			t.Errorf("error %v", err)
		}
	}
}
