package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gureum/gureum/guest/image/ext4"
)

var made = time.Unix(1_700_000_000, 0)

const imageSize = 16 << 20

// memory is an image in memory, which keeps no zeroes that nobody wrote.
type memory struct{ pieces map[int64]*[4096]byte }

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > imageSize {
		return 0, fmt.Errorf("write of %d bytes at %d: outside the image", len(p), off)
	}
	for n := 0; n < len(p); {
		at := off + int64(n)
		piece := m.pieces[at/4096]
		if piece == nil {
			piece = new([4096]byte)
			m.pieces[at/4096] = piece
		}
		n += copy(piece[at%4096:], p[n:])
	}
	return len(p), nil
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > imageSize {
		return 0, io.EOF
	}
	for n := 0; n < len(p); {
		at := off + int64(n)
		chunk := p[n:min(len(p), n+int(4096-at%4096))]
		if piece := m.pieces[at/4096]; piece != nil {
			copy(chunk, piece[at%4096:])
		} else {
			clear(chunk)
		}
		n += len(chunk)
	}
	return len(p), nil
}

func newWriter(t testing.TB) (*ext4.Writer, *memory) {
	t.Helper()
	m := &memory{map[int64]*[4096]byte{}}
	w, err := ext4.New(m, ext4.Config{Size: imageSize, Time: made})
	if err != nil {
		t.Fatal(err)
	}
	return w, m
}

// entry is one of a tar; the type is that of what is set.
type entry struct {
	name    string
	content string
	link    string // symbolic
	hard    string
	kind    byte
	pax     map[string]string
}

func makeTar(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Mode: 0o755, Size: int64(len(e.content)), ModTime: made, PAXRecords: e.pax, Format: tar.FormatPAX}
		switch {
		case e.kind != 0:
			h.Linkname = e.link
		case e.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		case e.hard != "":
			h.Typeflag, h.Linkname = tar.TypeLink, e.hard
		case strings.HasSuffix(e.name, "/"):
			h.Typeflag = tar.TypeDir
		default:
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// list lists what is in an image, a line for each name: its type, its path, and its
// content or target. It fails on any name that is not one, and holds the image against
// e2fsck if asked to.
func list(t testing.TB, w *ext4.Writer, m *memory, fsck bool) []string {
	t.Helper()
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	if fsck {
		path := filepath.Join(t.TempDir(), "disk")
		p := make([]byte, imageSize)
		if _, err := m.ReadAt(p, 0); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, p, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("/usr/sbin/e2fsck", "-fn", path).CombinedOutput(); err != nil {
			t.Fatalf("e2fsck: %v\n%s", err, out)
		}
	}
	r, err := ext4.OpenReader(m)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	var visit func(dir *ext4.Inode, path string)
	visit = func(dir *ext4.Inode, path string) {
		names, err := r.Names(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if name == "" || strings.ContainsAny(name, "/\x00") || len(name) > 255 {
				t.Fatalf("a file is called %q", name)
			}
			i, err := r.Entry(dir, name)
			if err != nil {
				t.Fatal(err)
			}
			line := path + name
			switch i.Type {
			case ext4.TypeDir:
				line += "/"
			case ext4.TypeSymlink:
				line += " -> " + i.Target
			case ext4.TypeRegular:
				p, err := io.ReadAll(io.NewSectionReader(r.File(i), 0, min(i.Size, 1<<20)))
				if err != nil {
					t.Fatal(err)
				}
				line += " = " + string(p)
			default:
				line += fmt.Sprintf(" %#x %d:%d", i.Type, i.Major, i.Minor)
			}
			lines = append(lines, line)
			if i.Type == ext4.TypeDir {
				visit(i, path+name+"/")
			}
		}
	}
	root, err := r.Lookup("/")
	if err != nil {
		t.Fatal(err)
	}
	visit(root, "")
	return slices.DeleteFunc(lines, func(s string) bool { return s == "lost+found/" })
}

func TestUnpack(t *testing.T) {
	for name, test := range map[string]struct {
		entries []entry
		want    []string
		err     error
	}{
		"ordinary": {
			entries: []entry{{name: "./"}, {name: "./etc/"}, {name: "./etc/motd", content: "hi"}, {name: "bin", link: "usr/bin"}, {name: "etc/issue", hard: "./etc/motd"}},
			want:    []string{"bin -> usr/bin", "etc/", "etc/issue = hi", "etc/motd = hi"},
		},
		"absolute name": {
			entries: []entry{{name: "/etc/passwd", content: "mine"}},
			want:    []string{"etc/", "etc/passwd = mine"},
		},
		"upwards":            {entries: []entry{{name: "../../etc/passwd", content: "x"}}, err: ext4.ErrPath},
		"upwards inside":     {entries: []entry{{name: "a/../../b", content: "x"}}, err: ext4.ErrPath},
		"upwards hard link":  {entries: []entry{{name: "a", hard: "../../etc/shadow"}}, err: ext4.ErrPath},
		"hard link outside":  {entries: []entry{{name: "a", hard: "/etc/shadow"}}, err: ext4.ErrPath},
		"hard link to link":  {entries: []entry{{name: "l", link: "/etc/shadow"}, {name: "a", hard: "l"}}, want: []string{"a -> /etc/shadow", "l -> /etc/shadow"}},
		"hard link to dir":   {entries: []entry{{name: "d/"}, {name: "a", hard: "d"}}, err: ext4.ErrPath},
		"hard link to self":  {entries: []entry{{name: "a", hard: "a"}}, err: ext4.ErrPath},
		"file as folder":     {entries: []entry{{name: "a", content: "x"}, {name: "a/b", content: "y"}}, err: ext4.ErrPath},
		"link as folder, up": {entries: []entry{{name: "d/"}, {name: "a", link: "../../../d"}, {name: "a/b", content: "in d"}}, want: []string{"a -> ../../../d", "d/", "d/b = in d"}},
		"link as folder, absolute": {
			entries: []entry{{name: "a", link: "/tmp"}, {name: "a/b", content: "x"}},
			want:    []string{"a -> /tmp", "tmp/", "tmp/b = x"},
		},
		"link behind a hard link": {
			entries: []entry{{name: "d/"}, {name: "l", link: "/d"}, {name: "m", hard: "l"}, {name: "m/x", content: "x"}},
			want:    []string{"d/", "d/x = x", "l -> /d", "m -> /d"},
		},
		"loop of links":       {entries: []entry{{name: "a", link: "b"}, {name: "b", link: "a"}, {name: "a/x", content: "x"}}, err: ext4.ErrPath},
		"file over folder":    {entries: []entry{{name: "a/b", content: "x"}, {name: "a", content: "y"}}, want: []string{"a = y"}},
		"folder over file":    {entries: []entry{{name: "a", content: "y"}, {name: "a/"}}, want: []string{"a/"}},
		"folder twice":        {entries: []entry{{name: "a/b", content: "x"}, {name: "a/"}}, want: []string{"a/", "a/b = x"}},
		"file through a link": {entries: []entry{{name: "f", content: "old"}, {name: "l", link: "f"}, {name: "l", content: "new"}}, want: []string{"f = old", "l = new"}},
		"hard link replaced":  {entries: []entry{{name: "f", content: "old"}, {name: "g", hard: "f"}, {name: "f", content: "new"}}, want: []string{"f = new", "g = old"}},
		"hard link over its folder": {
			entries: []entry{{name: "d/f", content: "x"}, {name: "d", hard: "d/f"}}, want: []string{"d = x"},
		},
		"devices": {
			entries: []entry{{name: "null", kind: tar.TypeChar}, {name: "fifo", kind: tar.TypeFifo}},
			want:    []string{"fifo 0x1000 0:0", "null 0x2000 0:0"},
		},
		"unknown type":   {entries: []entry{{name: "x", kind: 'V'}}, err: ErrFormat},
		"root is a file": {entries: []entry{{name: ".", kind: tar.TypeReg}}, err: ext4.ErrPath},
		"root is a link": {entries: []entry{{name: "/", kind: tar.TypeSymlink, link: "/etc"}}, err: ext4.ErrPath},
		"lost+found":     {entries: []entry{{name: "lost+found", content: "x"}}, want: []string{"lost+found = x"}},
		"long name":      {entries: []entry{{name: strings.Repeat("n", 256)}}, err: ext4.ErrPath},
		"long link":      {entries: []entry{{name: "l", link: strings.Repeat("n/", 2048)}}, err: ext4.ErrPath},
		"whiteouts are files": {
			entries: []entry{{name: "a", content: "x"}, {name: ".wh.a"}}, want: []string{".wh.a = ", "a = x"},
		},
		"odd attributes": {
			entries: []entry{{name: "a", pax: map[string]string{"SCHILY.xattr.system.nfs4_acl": "x", "SCHILY.xattr.user.ok": "y", "SCHILY.xattr.user.": "z"}}},
			want:    []string{"a = "},
		},
		"attributes too large": {
			entries: []entry{{name: "a", pax: map[string]string{"SCHILY.xattr.user.big": strings.Repeat("x", 5000)}}}, err: ext4.ErrNoSpace,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, m := newWriter(t)
			err := Unpack(w, bytes.NewReader(makeTar(t, test.entries...)), false)
			if !errors.Is(err, test.err) {
				t.Fatalf("%v, want %v", err, test.err)
			}
			if err != nil {
				return
			}
			if got := list(t, w, m, true); !slices.Equal(got, test.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

// TestHugeFiles has headers that promise more than there is room for, or than follows.
func TestHugeFiles(t *testing.T) {
	for name, size := range map[string]int64{"more than the disk": 1 << 30, "8 EiB": 1<<63 - 1, "more than follows": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			if err := w.WriteHeader(&tar.Header{Name: "f", Typeflag: tar.TypeReg, Size: size, Format: tar.FormatPAX}); err != nil {
				t.Fatal(err)
			}
			image, _ := newWriter(t)
			err := Unpack(image, bytes.NewReader(b.Bytes()), false)
			if !errors.Is(err, ext4.ErrNoSpace) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatal(err)
			}
		})
	}
}

func TestLayers(t *testing.T) {
	lower := []entry{
		{name: "keep", content: "1"},
		{name: "gone", content: "1"},
		{name: "dir/a", content: "1"},
		{name: "dir/b/c", content: "1"},
		{name: "opaque/a", content: "1"},
		{name: "opaque/sub/b", content: "1"},
		{name: "lib", link: "usr/lib"},
		{name: "usr/lib/x", content: "1"},
		{name: "usr/lib/y", content: "1"},
	}
	upper := []entry{
		{name: ".wh.gone"},
		{name: ".wh..wh.plnk"},
		{name: "dir/.wh.b"},
		{name: "dir/b2", content: "2"},
		{name: "opaque/new", content: "2"}, // before the mark, and stays all the same
		{name: "opaque/sub/new", content: "2"},
		{name: "opaque/.wh..wh..opq"},
		{name: "lib/.wh.x"}, // through a link of the layer below
		{name: "lib/z", content: "2"},
		{name: "none/.wh.x"},
		{name: "same", content: "2"},
		{name: ".wh.same"}, // of this layer, so it stays
	}
	w, m := newWriter(t)
	for _, l := range [][]entry{lower, upper} {
		if err := Unpack(w, bytes.NewReader(makeTar(t, l...)), true); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"dir/", "dir/a = 1", "dir/b2 = 2", "keep = 1", "lib -> usr/lib", "opaque/", "opaque/new = 2", "opaque/sub/",
		"opaque/sub/new = 2", "same = 2", "usr/", "usr/lib/", "usr/lib/y = 1", "usr/lib/z = 2",
	}
	if got := list(t, w, m, true); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, name := range []string{".wh...", ".wh..", ".wh.", "../.wh.x"} {
		if err := Unpack(w, bytes.NewReader(makeTar(t, entry{name: name})), true); !errors.Is(err, ErrFormat) && !errors.Is(err, ext4.ErrPath) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// scriptTar makes a tar of lines, each a letter for the type, a name, and behind a ">" the
// content or where a link leads: so that what a fuzzer changes is not lost on checksums.
func scriptTar(script string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	kinds := map[byte]byte{'d': tar.TypeDir, 'l': tar.TypeSymlink, 'h': tar.TypeLink, 'c': tar.TypeChar, 'b': tar.TypeBlock, 'p': tar.TypeFifo, 'v': 'V'}
	for line := range strings.Lines(script) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Mode: int64(len(line)), ModTime: made, Format: tar.FormatPAX}
		if kind, ok := kinds[line[0]]; ok {
			h.Typeflag = kind
		}
		var rest string
		h.Name, rest, _ = strings.Cut(line[1:], ">")
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(rest))
		} else {
			h.Linkname = rest
		}
		if w.WriteHeader(h) != nil {
			w = tar.NewWriter(&b) // it cannot be encoded: it is left out
			continue
		}
		if h.Typeflag == tar.TypeReg {
			_, _ = io.WriteString(w, rest)
		}
		_ = w.Flush()
	}
	_ = w.Close()
	return b.Bytes()
}

// FuzzTarImport unpacks hostile archives, two layers of entries and one of raw bytes. What
// it must hold: no write outside the image (memory refuses those), an image whose names
// are names, and a tree that is one: walked to its end, each folder once.
func FuzzTarImport(f *testing.F) {
	f.Add("da\nfa/b>x\nll>../../a\nhl/c>a/b", "fl/d>y\nfa/.wh.b", []byte{})
	f.Add("la>/\nfa/a/b>x\nlb>..\nfb/../c>1", "fa/.wh.b\nf.wh..wh..opq\nd/", []byte{})
	f.Add("f/etc/passwd>x\nf../up>x", "hx>../../etc/shadow", makeTar(f, entry{name: "x", pax: map[string]string{"SCHILY.xattr.user.a": "b"}}))
	f.Add("llost+found>.\nplost+found/x\ncnull", "hd>d/f\nfd/f\nhd>d/f", makeTar(f, entry{name: "x", hard: "x"}))
	f.Fuzz(func(t *testing.T, lower, upper string, raw []byte) {
		w, m := newWriter(t)
		for _, layer := range [][]byte{scriptTar(lower), scriptTar(upper), raw} {
			if err := Unpack(w, bytes.NewReader(layer), true); err != nil {
				if strings.Contains(err.Error(), "outside the image") {
					t.Fatal(err)
				}
				return
			}
		}
		list(t, w, m, false)
	})
}
