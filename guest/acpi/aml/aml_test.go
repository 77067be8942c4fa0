package aml

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func encode(t testing.TB, terms ...Term) []byte {
	t.Helper()
	b, err := Encode(terms...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestEncode compares with bytes worked out from the specification's grammar.
func TestEncode(t *testing.T) {
	tests := []struct {
		name string
		term Term
		want string
	}{
		{"zero", Integer(0), "00"},
		{"one", Integer(1), "01"},
		{"ones", Integer(1<<64 - 1), "ff"},
		{"byte", Integer(0xFF), "0aff"},
		{"word", Integer(0x100), "0b0001"},
		{"dword", Integer(0x10000), "0c00000100"},
		{"dword max", Integer(1<<32 - 1), "0cffffffff"},
		{"qword", Integer(1 << 32), "0e0000000001000000"},
		{"string", String("AB"), "0d414200"},
		{"EISA id", EISAID("PNP0A03"), "0c41d00a03"},
		{"buffer", Buffer([]byte{7, 8}), "11050a020708"},
		{"empty buffer", Buffer(nil), "110200"},
		{"package", Package(Integer(5), Integer(0)), "1205020a0500"},
		{"UUID", UUID("33DB4D5B-1FF7-401C-9657-7441C03DD766"), "11130a105b4ddb33f71f1c4096577441c03dd766"},
		{"short name", Path("A"), "415f5f5f"},
		{"root name", Path(`\_SB`), "5c5f53425f"},
		{"root alone", Path(`\`), "5c00"},
		{"parent name", Path("^^A1"), "5e5e41315f5f"},
		{"dual name", Path(`\_SB.PWRB`), "5c2e5f53425f50575242"},
		{"multi name", Path("A.B.C"), "2f03415f5f5f425f5f5f435f5f5f"},
		{"name", Name("_UID", Integer(3)), "085f5549440a03"},
		{"scope", Scope(`\`), "10035c00"},
		{"device", Device("A", Name("B", Integer(0))), "5b820b415f5f5f08425f5f5f00"},
		{"method", Method("M", 2, Serialized, Return(Arg(1))), "14084d5f5f5f0aa469"},
		{"region", OpRegion("R", SystemIO, 0x604, 4), "5b80525f5f5f010b04060a04"},
		{
			"field", Field("R", DWordAccess, WriteAsZeros, FieldUnit{"A", 3}, FieldUnit{"", 29}, FieldUnit{"B", 64}),
			"5b8113525f5f5f43415f5f5f03001d425f5f5f4004",
		},
		{
			"if else", op(0x99, If(Local(7), Store(Arg(6), Local(0))), Else(Notify(Path("P"), Integer(0x80)))),
			"99a00567706e60a10886505f5f5f0a80",
		},
		{"expressions", Add(Integer(1), Subtract(Arg(0), Arg(1), Discard), Local(1)), "72017468690061"},
		{
			"bits", Or(ShiftLeft(Arg(0), Integer(1), Discard), ShiftRight(Arg(0), Integer(1), Discard), Local(0)),
			"7d796801007a68010060",
		},
		{
			"logic", LAnd(LOr(LNot(Arg(0)), LEqual(Arg(0), Arg(1))), LGreater(Arg(1), LLess(Arg(0), Arg(1)))),
			"909192689368699469956869",
		},
		{"element", DerefOf(Index(Arg(0), Integer(0), Discard)), "8388680000"},
		{"call", Call("FN", Arg(0)), "464e5f5f68"},
		{"buffer field", CreateDWordField(Arg(3), Integer(0), "CDW1"), "8a6b0043445731"},
		{"no resources", ResourceTemplate(), "11050a027900"},
		{"resources", ResourceTemplate(IO(0x3F8, 8), IRQNoFlags(4)), "11100a0d4701f803f8030108221000" + "7900"},
		{"interrupt", ResourceTemplate(Interrupt(9, EdgeHigh, Exclusive)), "110e0a0b8906000301090000007900"},
		{"shared interrupt", ResourceTemplate(Interrupt(300, LevelLow, Shared)), "110e0a0b8906000d012c0100007900"},
		{"memory", ResourceTemplate(Memory32Fixed(0xD0000000, 0x1000)), "11110a0e86090001000000d0001000007900"},
		{"buses", ResourceTemplate(BusNumbers(0, 255)), "11150a12880d00020c000000" + "0000ff00" + "00000001" + "7900"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := hex.EncodeToString(encode(t, tt.term)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestEncodeErrors(t *testing.T) {
	deep := Integer(0)
	for range 100 {
		deep = Package(deep)
	}
	tests := map[string]Term{
		"nil":               nil,
		"nil inside":        Package(nil),
		"nil value":         Name("A", nil),
		"empty name":        Path(""),
		"lower case":        Path("a"),
		"digit first":       Path("1A"),
		"long segment":      Path("ABCDE"),
		"empty segment":     Path("A..B"),
		"parent inside":     Path(`A.^B`),
		"root then parent":  Path(`\^A`),
		"many segments":     Path(strings.Repeat("A.", 255) + "A"),
		"path as field":     Field("R", AnyAccess, Preserve, FieldUnit{"A.B", 1}),
		"negative bits":     Field("R", AnyAccess, Preserve, FieldUnit{"A", -1}),
		"bits":              Field("R", AnyAccess, Preserve, FieldUnit{"A", 1 << 28}),
		"access width":      Field("R", 5, Preserve),
		"update rule":       Field("R", AnyAccess, 3),
		"args":              Method("M", 8, Serialized),
		"negative args":     Method("M", -1, Serialized),
		"arg 7":             Arg(7),
		"arg -1":            Arg(-1),
		"local 8":           Local(8),
		"string with zero":  String("A\x00"),
		"string not ASCII":  String("é"),
		"package of 256":    Package(make([]Term, 256)...),
		"EISA id short":     EISAID("PNP05"),
		"EISA id letters":   EISAID("pnp0501"),
		"EISA id digits":    EISAID("PNP050x"),
		"UUID form":         UUID("33DB4D5B1FF7401C96577441C03DD766"),
		"UUID digits":       UUID("33db4d5b-1ff7-401c-9657-7441c03dd766"),
		"IRQ 16":            ResourceTemplate(IRQNoFlags(16)),
		"nil resource":      ResourceTemplate(nil),
		"empty window 32":   ResourceTemplate(MemoryWindow32(2, 1)),
		"empty window 64":   ResourceTemplate(MemoryWindow64(2, 1)),
		"empty I/O window":  ResourceTemplate(IOWindow(2, 1)),
		"nesting":           deep,
		"invalid far below": Scope(`\_SB`, Device("D", Name("_CRS", Package(Package(String("\x80")))))),
	}
	for name, term := range tests {
		t.Run(name, func(t *testing.T) {
			if b, err := Encode(term); !errors.Is(err, ErrInvalid) || b != nil {
				t.Errorf("Encode gave % x, %v", b, err)
			}
		})
	}
}

// TestPkgLength reads lengths back around every boundary of their size.
func TestPkgLength(t *testing.T) {
	for _, content := range []int{0, 1, 61, 62, 63, 64, 4092, 4093, 4094, 4095, 1<<20 - 5, 1<<20 - 4, 1<<20 - 3, 1 << 20} {
		b := encode(t, op(0x99, termFunc(func(e *encoder) {
			e.packaged(func() { e.bytes(make([]byte, content)...) })
		})))[1:]
		length, n := readPkgLength(t, b)
		if length != len(b) || length != n+content {
			t.Errorf("%d bytes: length %d in %d bytes, encoded %d", content, length, n, len(b))
		}
	}
	var head [4]byte
	if n := putPkgLength(&head, maxPkgLength4-4); n != 4 {
		t.Errorf("the longest package takes %d bytes", n)
	}
	if n := putPkgLength(&head, maxPkgLength4-3); n != 0 {
		t.Errorf("a package that is too long takes %d bytes", n)
	}
}

// readPkgLength decodes a PkgLength from the specification's view.
func readPkgLength(t testing.TB, b []byte) (length, size int) {
	t.Helper()
	more := int(b[0] >> 6)
	if more == 0 {
		return int(b[0] & 0x3F), 1
	}
	if b[0]&0x30 != 0 {
		t.Fatalf("reserved bits set in % x", b[:4])
	}
	length = int(b[0] & 0xF)
	for i := range more {
		length |= int(b[1+i]) << (4 + 8*i)
	}
	return length, 1 + more
}

// FuzzName checks that a path is refused, or decodes to what went in.
func FuzzName(f *testing.F) {
	for _, seed := range []string{`\_SB.PWRB`, "^^A.B.C", "A", `\`, "^", "", "1", "A..B", "ABCD.EFGH", "\\\x00", "_", "A.B."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		b, err := Encode(Path(name))
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("error %v", err)
			}
			return
		}
		got := decodeName(t, b)
		want := name
		if i := strings.LastIndexAny(want, `\^`); i >= 0 {
			want = want[:i+1] + padded(want[i+1:])
		} else {
			want = padded(want)
		}
		if got != want {
			t.Errorf("%q decodes to %q", name, got)
		}
	})
}

func padded(name string) string {
	if name == "" {
		return ""
	}
	segs := strings.Split(name, ".")
	for i, s := range segs {
		segs[i] = (s + "___")[:4]
	}
	return strings.Join(segs, ".")
}

// decodeName reads a NameString and wants nothing behind it.
func decodeName(t testing.TB, b []byte) string {
	t.Helper()
	var out strings.Builder
	for len(b) > 0 && (b[0] == '\\' || b[0] == '^') {
		out.WriteByte(b[0])
		b = b[1:]
	}
	count := 1
	switch b[0] {
	case 0:
		count, b = 0, b[1:]
	case 0x2E:
		count, b = 2, b[1:]
	case 0x2F:
		count, b = int(b[1]), b[2:]
	}
	if len(b) != 4*count {
		t.Fatalf("%d bytes for %d segments", len(b), count)
	}
	for i := range count {
		if i > 0 {
			out.WriteByte('.')
		}
		out.Write(b[4*i : 4*i+4])
	}
	return out.String()
}

// FuzzData checks that strings, ids and nested packages of any size are refused
// or come out with lengths that add up.
func FuzzData(f *testing.F) {
	f.Add("PNP0501", uint16(3))
	f.Add("33DB4D5B-1FF7-401C-9657-7441C03DD766", uint16(70))
	f.Add("\xff\x00", uint16(0))
	f.Fuzz(func(t *testing.T, text string, depth uint16) {
		for _, term := range []Term{EISAID(text), UUID(text)} {
			if _, err := Encode(term); err != nil && !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
		}
		term := String(text)
		for range depth % 100 {
			term = Package(term, Buffer([]byte(text)))
		}
		b, err := Encode(term)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		for range depth % 100 {
			if b[0] != opPackage {
				t.Fatalf("no package: % x", b[:min(8, len(b))])
			}
			length, n := readPkgLength(t, b[1:])
			if length > len(b)-1 {
				t.Fatalf("a package of %d bytes in %d", length, len(b)-1)
			}
			b = b[1+n+1 : 1+length]
		}
		if b[0] != opString {
			t.Fatalf("no string inside: % x", b[:min(8, len(b))])
		}
	})
}
