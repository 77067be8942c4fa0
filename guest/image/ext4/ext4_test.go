package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var made = time.Unix(1_700_000_000, 0)

// newImage begins a file system in a file of a temporary folder.
func newImage(t testing.TB, size int64) (*Writer, *os.File) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	w, err := New(f, Config{Size: size, Label: "test", UUID: [16]byte{1, 2, 3, 0x40, 5, 6, 7, 0x80, 9}, Time: made})
	if err != nil {
		t.Fatal(err)
	}
	return w, f
}

// fsck holds an image against e2fsprogs' own checker.
func fsck(t testing.TB, f *os.File) {
	t.Helper()
	out, err := exec.Command("/usr/sbin/e2fsck", "-fn", f.Name()).CombinedOutput()
	if err != nil {
		t.Fatalf("e2fsck: %v\n%s", err, out)
	}
}

func (w *Writer) mustPut(t testing.TB, name string, a Attr, content string) {
	t.Helper()
	if a.ModTime.IsZero() {
		a.ModTime = made
	}
	if err := w.Put(name, a, int64(len(content)), strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
}

// debugfs asks e2fsprogs' own reader.
func debugfs(t testing.TB, f *os.File, request string) string {
	t.Helper()
	out, err := exec.Command("/usr/sbin/debugfs", "-R", request, f.Name()).Output()
	if err != nil {
		t.Fatalf("debugfs %s: %v", request, err)
	}
	return string(out)
}

func TestEveryKindOfFile(t *testing.T) {
	w, f := newImage(t, 64<<20)
	acl := "\x02\x00\x00\x00" + "\x01\x00\x07\x00\xff\xff\xff\xff" + "\x02\x00\x06\x00\xe8\x03\x00\x00" + "\x04\x00\x05\x00\xff\xff\xff\xff" + "\x10\x00\x07\x00\xff\xff\xff\xff" + "\x20\x00\x05\x00\xff\xff\xff\xff"
	w.mustPut(t, "/", Attr{Type: TypeDir, Perm: 0o755}, "")
	w.mustPut(t, "etc", Attr{Type: TypeDir, Perm: 0o750, UID: 70000, GID: 80000}, "")
	w.mustPut(t, "etc/motd", Attr{Type: TypeRegular, Perm: 0o4755, UID: 1, GID: 2, ModTime: time.Unix(5_000_000_000, 7)}, "hello")
	w.mustPut(t, "bin", Attr{Type: TypeSymlink, Perm: 0o777, Target: "usr/bin"}, "")
	w.mustPut(t, "long", Attr{Type: TypeSymlink, Perm: 0o777, Target: strings.Repeat("x/", 40)}, "")
	w.mustPut(t, "usr/bin/ping", Attr{Type: TypeRegular, Perm: 0o755, Xattrs: map[string]string{
		"security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	}}, "ping")
	w.mustPut(t, "usr/big", Attr{Type: TypeRegular, Perm: 0o644, Xattrs: map[string]string{
		"user.a": strings.Repeat("v", 1000), "user.b": "", "security.x": "y", "trusted.z": "1234567",
		"system.posix_acl_access": acl,
	}}, "")
	w.mustPut(t, "dev/null", Attr{Type: TypeChar, Perm: 0o666, Major: 1, Minor: 3}, "")
	w.mustPut(t, "dev/far", Attr{Type: TypeBlock, Perm: 0o660, Major: 259, Minor: 70000}, "")
	w.mustPut(t, "run/fifo", Attr{Type: TypeFIFO, Perm: 0o600}, "")
	w.mustPut(t, "run/socket", Attr{Type: TypeSocket, Perm: 0o600}, "")
	// A name in a folder that is a link ends up where the link leads.
	w.mustPut(t, "bin/true", Attr{Type: TypeRegular, Perm: 0o755}, "true")
	if err := w.Link("usr/bin/also", "bin/true"); err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	fsck(t, f)
	for request, want := range map[string]string{
		"stat etc/motd":     "Mode:  04755",
		"stat etc":          "User: 70000   Group: 80000",
		"stat dev/null":     "major/minor number: 01:03",
		"stat dev/far":      "number: 259:70000",
		"stat usr/bin/also": "Links: 2",
		"ea_get usr/bin/ping security.capability": "01 00 00 02",
		"ea_get usr/big trusted.z":                "1234567",
		"ea_get usr/big user.a":                   "vvvv",
		"cat bin/true":                            "true",
	} {
		if out := debugfs(t, f, request); !strings.Contains(out, want) {
			t.Errorf("debugfs %s: no %q in\n%s", request, want, out)
		}
	}
	r, err := OpenReader(f)
	if err != nil {
		t.Fatal(err)
	}
	i, err := r.Lookup("/bin/also")
	if err != nil || i.Links != 2 || readAll(t, r, i) != "true" {
		t.Fatalf("%+v, %v", i, err)
	}
	if i, err = r.Lookup("etc/motd"); err != nil || !i.ModTime.Equal(time.Unix(5_000_000_000, 7)) {
		t.Fatalf("%+v, %v", i, err)
	}
	if i, err = r.Lookup("dev/far"); err != nil || i.Major != 259 || i.Minor != 70000 {
		t.Fatalf("%+v, %v", i, err)
	}
	if _, err = r.Lookup("/etc/../etc/nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

func readAll(t testing.TB, r *Reader, i *Inode) string {
	t.Helper()
	p, err := io.ReadAll(io.NewSectionReader(r.File(i), 0, i.Size))
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}

// TestManyGroups has files over several groups, folders of several blocks, and a file with
// more extents than an inode holds.
func TestManyGroups(t *testing.T) {
	w, f := newImage(t, 1<<30)
	random := rand.NewChaCha8([32]byte{})
	content := make([]byte, 700<<20)
	for at := 0; at < len(content); at += 1 << 20 { // the rest are zeroes, not written
		_, _ = random.Read(content[at : at+5000])
	}
	w.mustPut(t, "large", Attr{Type: TypeRegular}, string(content))
	for i := range 2000 {
		w.mustPut(t, fmt.Sprintf("many/%04d-%s", i, strings.Repeat("n", i%200)), Attr{Type: TypeRegular}, fmt.Sprint(i))
	}
	for i := 0; i < 2000; i += 2 {
		w.Layer()
		if err := w.Remove(fmt.Sprintf("many/%04d-%s", i, strings.Repeat("n", i%200))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	fsck(t, f)
	r, err := OpenReader(f)
	if err != nil {
		t.Fatal(err)
	}
	large, err := r.Lookup("large")
	if err != nil {
		t.Fatal(err)
	}
	if len(w.root.children["large"].mapBlocks) == 0 {
		t.Fatal("the file has no extent tree: it tests too little")
	}
	got := make([]byte, len(content))
	if _, err := r.File(large).ReadAt(got, 0); err != nil || !bytes.Equal(got, content) {
		t.Fatalf("the large file reads back otherwise: %v", err)
	}
	dir, err := r.Lookup("many")
	if err != nil {
		t.Fatal(err)
	}
	names, err := r.Names(dir)
	if err != nil || len(names) != 1000 || !slices.IsSorted(names) {
		t.Fatalf("%d names, %v", len(names), err)
	}
}

// TestSizes has e2fsck look at file systems of sizes where the last group is cut short.
func TestSizes(t *testing.T) {
	const group = blocksPerGroup * BlockSize
	for _, size := range []int64{MinSize, 16<<20 + 4096, group - 4096, group, group + 4096, group + 3<<20, 9*group + 64<<20, 65 * group, 64 << 30} {
		w, f := newImage(t, size)
		w.mustPut(t, "a/b", Attr{Type: TypeRegular}, "c")
		if err := w.Finish(); err != nil {
			t.Fatal(size, err)
		}
		fsck(t, f)
	}
}

func TestFull(t *testing.T) {
	w, _ := newImage(t, MinSize)
	err := w.Put("f", Attr{Type: TypeRegular}, 8<<20, bytes.NewReader(make([]byte, 8<<20)))
	if !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	w, _ = newImage(t, MinSize)
	for i := 0; err == nil || i == 0; i++ {
		if err = w.Put(fmt.Sprint(i), Attr{Type: TypeRegular}, 0, nil); i > 1<<20 {
			t.Fatal("inodes without end")
		}
	}
	if !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
}

func TestBadNames(t *testing.T) {
	w, f := newImage(t, 64<<20)
	w.mustPut(t, "file", Attr{Type: TypeRegular}, "")
	w.mustPut(t, "dir", Attr{Type: TypeDir}, "")
	w.mustPut(t, "up", Attr{Type: TypeSymlink, Target: "../../../../dir"}, "")
	w.mustPut(t, "loop", Attr{Type: TypeSymlink, Target: "loop"}, "")
	w.mustPut(t, "bomb", Attr{Type: TypeSymlink, Target: strings.Repeat("bomb/", 800)}, "")
	for _, name := range []string{"..", "a/../b", "../a", "a\x00b", strings.Repeat("a", 256), strings.Repeat("a/", 2100), "file/x", "loop/x", "bomb/x"} {
		if err := w.Put(name, Attr{Type: TypeRegular}, 0, nil); !errors.Is(err, ErrPath) {
			t.Errorf("%.40q: %v", name, err)
		}
	}
	deep := strings.Repeat("d/", 1000)
	w.mustPut(t, deep+"l", Attr{Type: TypeSymlink, Target: "/" + deep}, "")
	if err := w.Put(deep+strings.Repeat("e/", 100), Attr{Type: TypeDir}, 0, nil); !errors.Is(err, ErrPath) {
		t.Error(err)
	}
	for _, existing := range []string{"dir", "none", "../up", "/", ""} {
		if err := w.Link("new", existing); !errors.Is(err, ErrPath) {
			t.Errorf("link to %q: %v", existing, err)
		}
	}
	w.mustPut(t, "up/inside", Attr{Type: TypeRegular}, "here")
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	fsck(t, f)
	r, err := OpenReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if i, err := r.Lookup("dir/inside"); err != nil || readAll(t, r, i) != "here" {
		t.Fatal(err)
	}
}

// FuzzReader reads images that were tampered with.
func FuzzReader(f *testing.F) {
	w, file := newImage(f, MinSize)
	w.mustPut(f, "boot/vmlinuz", Attr{Type: TypeRegular}, strings.Repeat("kernel", 1000))
	w.mustPut(f, "vmlinuz", Attr{Type: TypeSymlink, Target: "boot/vmlinuz"}, "")
	if err := w.Finish(); err != nil {
		f.Fatal(err)
	}
	image, err := os.ReadFile(file.Name())
	if err != nil {
		f.Fatal(err)
	}
	root := int(w.geo.inodeTable(0)) * BlockSize
	f.Add(uint32(superOffset+0x18), []byte{9})
	f.Add(uint32(root+inodeSize+0x28), []byte{0x0a, 0xf3, 4, 0, 4, 0, 1, 0})
	f.Add(uint32(root+inodeSize+4), []byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, at uint32, change []byte) {
		p := slices.Clone(image)
		copy(p[int(at)%len(p):], change)
		r, err := OpenReader(bytes.NewReader(p))
		if err != nil {
			return
		}
		i, err := r.Lookup("vmlinuz")
		if err == nil {
			_, _ = io.CopyN(io.Discard, io.NewSectionReader(r.File(i), 0, i.Size), 1<<20)
		}
	})
}
