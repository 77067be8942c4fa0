package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// file is an entry as read back.
type file struct {
	Header
	data string
}

// readAll reads one archive.
func readAll(t testing.TB, r *Reader) []file {
	t.Helper()
	var files []file
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file{*h, string(data)})
	}
}

func build(t testing.TB, a *Archive) []byte {
	t.Helper()
	b, err := a.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(b)) != a.Size() {
		t.Errorf("%d bytes, Size says %d", len(b), a.Size())
	}
	return b
}

func sample() *Archive {
	a := &Archive{ModTime: 1_700_000_000}
	a.File("/init", Attr{Mode: 0o755}, []byte("#!/bin/sh\n"))
	a.CharDevice("dev/console", Attr{Mode: 0o600}, 5, 1)
	a.BlockDevice("dev/vda", Attr{Mode: 0o660, GID: 6}, 254, 0)
	a.Symlink("bin/ls", "busybox")
	a.File("bin/su", Attr{Mode: 0o4755, UID: 1, GID: 2}, nil)
	a.FIFO("run/pipe", Attr{Mode: 0o622})
	a.Dir("tmp", Attr{Mode: 0o1777})
	a.File("bin-x", Attr{Mode: 0o644}, []byte("1"))
	a.Dir("bin", Attr{Mode: 0o700})
	return a
}

func TestArchive(t *testing.T) {
	got := readAll(t, NewReader(bytes.NewReader(build(t, sample()))))
	want := []string{
		"bin 40700 0:0 2 0:0 ",
		"bin-x 100644 0:0 1 0:0 1",
		"bin/ls 120777 0:0 1 0:0 busybox",
		"bin/su 104755 1:2 1 0:0 ",
		"dev 40755 0:0 2 0:0 ",
		"dev/console 20600 0:0 1 5:1 ",
		"dev/vda 60660 0:6 1 254:0 ",
		"init 100755 0:0 1 0:0 #!/bin/sh\n",
		"run 40755 0:0 2 0:0 ",
		"run/pipe 10622 0:0 1 0:0 ",
		"tmp 41777 0:0 2 0:0 ",
	}
	if len(got) != len(want) {
		t.Fatalf("%d entries, want %d", len(got), len(want))
	}
	for i, f := range got {
		line := fmt.Sprintf("%s %o %d:%d %d %d:%d %s", f.Name, f.Mode, f.UID, f.GID, f.Links, f.DeviceMajor, f.DeviceMinor, f.data)
		if line != want[i] {
			t.Errorf("entry %q, want %q", line, want[i])
		}
		if f.ModTime != 1_700_000_000 || f.Inode != uint32(i+1) {
			t.Errorf("%s: time %d, inode %d", f.Name, f.ModTime, f.Inode)
		}
	}
}

// TestDeterministic adds the same files in another order.
func TestDeterministic(t *testing.T) {
	var x, y Archive
	names := []string{"a", "b/c", "b", "d/e/f", "d/a"}
	for i := range names {
		for _, step := range []struct {
			a    *Archive
			name string
		}{{&x, names[i]}, {&y, names[len(names)-1-i]}} {
			if step.name == "b" {
				step.a.Dir("b", Attr{Mode: 0o755})
			} else {
				step.a.File(step.name, Attr{Mode: 0o600}, []byte(step.name))
			}
		}
	}
	if !bytes.Equal(build(t, &x), build(t, &y)) {
		t.Error("the order of the calls changes the archive")
	}
}

// TestCpio lets GNU cpio read an archive.
func TestCpio(t *testing.T) {
	cmd := exec.Command("cpio", "-itv", "--numeric-uid-gid", "--quiet")
	cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	cmd.Stdin = bytes.NewReader(build(t, sample()))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("cpio: %v (install cpio with 'make setup')\n%s", err, out)
	}
	want := []string{
		"drwx------ 2 0 0 0 Nov 14 2023 bin",
		"-rw-r--r-- 1 0 0 1 Nov 14 2023 bin-x",
		"lrwxrwxrwx 1 0 0 7 Nov 14 2023 bin/ls -> busybox",
		"-rwsr-xr-x 1 1 2 0 Nov 14 2023 bin/su",
		"drwxr-xr-x 2 0 0 0 Nov 14 2023 dev",
		"crw------- 1 0 0 5, 1 Nov 14 2023 dev/console",
		"brw-rw---- 1 0 6 254, 0 Nov 14 2023 dev/vda",
		"-rwxr-xr-x 1 0 0 10 Nov 14 2023 init",
		"drwxr-xr-x 2 0 0 0 Nov 14 2023 run",
		"prw--w--w- 1 0 0 0 Nov 14 2023 run/pipe",
		"drwxrwxrwt 2 0 0 0 Nov 14 2023 tmp",
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for i, line := range lines {
		if i >= len(want) || strings.Join(strings.Fields(line), " ") != want[i] {
			t.Errorf("cpio says\n%s", out)
			break
		}
	}
	if len(lines) != len(want) {
		t.Errorf("%d lines, want %d", len(lines), len(want))
	}
}

// TestReadCpio reads an archive that GNU cpio has made.
func TestReadCpio(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "d/f"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("f", filepath.Join(dir, "d/l")); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"newc", "crc"} {
		cmd := exec.Command("cpio", "-o", "-H", format, "--quiet")
		cmd.Dir = dir
		cmd.Stdin = strings.NewReader("d\nd/f\nd/l\n")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("cpio: %v (install cpio with 'make setup')", err)
		}
		files := readAll(t, NewReader(bytes.NewReader(out)))
		if len(files) != 3 || files[1].Name != "d/f" || files[1].data != "hello" || files[2].data != "f" {
			t.Errorf("%s: read %+v", format, files)
		}
	}
}

func TestTree(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "usr/bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "usr/bin/tool")
	if err := os.WriteFile(program, []byte("tool"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(program, 0o755|fs.ModeSetuid|fs.ModeSticky|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("usr/bin", filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	var a Archive
	a.Tree("", os.DirFS(dir))
	a.Tree("etc", fstest.MapFS{"motd": {Data: []byte("hi"), Mode: 0o444}})
	a.HostFile("copy", Attr{Mode: 0o500}, program)
	var got []string
	for _, f := range readAll(t, NewReader(bytes.NewReader(build(t, &a)))) {
		got = append(got, fmt.Sprintf("%s %o %s", f.Name, f.Mode, f.data))
	}
	want := []string{
		"bin 120777 usr/bin", "copy 100500 tool", "etc 40755 ", "etc/motd 100444 hi",
		"usr 40755 ", "usr/bin 40755 ", "usr/bin/tool 107755 tool",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("x", 4096)
	tests := map[string]func(a *Archive){
		"no name":         func(a *Archive) { a.Dir("/", Attr{}) },
		"empty name":      func(a *Archive) { a.Dir("", Attr{}) },
		"NUL":             func(a *Archive) { a.Dir("a\x00b", Attr{}) },
		"leaves":          func(a *Archive) { a.Dir("a/../../b", Attr{}) },
		"long name":       func(a *Archive) { a.Dir(long, Attr{}) },
		"trailer":         func(a *Archive) { a.Dir("TRAILER!!!", Attr{}) },
		"twice":           func(a *Archive) { a.File("f", Attr{}, nil); a.File("f", Attr{}, nil) },
		"file, then dir":  func(a *Archive) { a.File("f", Attr{}, nil); a.Dir("f", Attr{}) },
		"file as parent":  func(a *Archive) { a.File("f", Attr{}, nil); a.Dir("f/d", Attr{}) },
		"mode":            func(a *Archive) { a.Dir("d", Attr{Mode: 0o40755}) },
		"no target":       func(a *Archive) { a.Symlink("l", "") },
		"long target":     func(a *Archive) { a.Symlink("l", long) },
		"NUL in target":   func(a *Archive) { a.Symlink("l", "\x00") },
		"host directory":  func(a *Archive) { a.HostFile("f", Attr{}, dir) },
		"socket in tree":  func(a *Archive) { a.Tree("", fstest.MapFS{"s": {Mode: fs.ModeSocket}}) },
		"huge":            func(a *Archive) { a.add("f", regular(Attr{}, 1<<32, nil)) },
		"negative length": func(a *Archive) { a.add("f", regular(Attr{}, -1, nil)) },
	}
	for name, fill := range tests {
		t.Run(name, func(t *testing.T) {
			var a Archive
			fill(&a)
			a.Dir("later", Attr{}) // changes nothing
			if b, err := a.Bytes(); !errors.Is(err, ErrInvalid) || len(b) != 0 || a.Err() == nil {
				t.Errorf("%d bytes, error %v", len(b), err)
			}
		})
	}
	var a Archive
	a.HostFile("f", Attr{}, filepath.Join(dir, "missing"))
	if !errors.Is(a.Err(), fs.ErrNotExist) {
		t.Errorf("error %v", a.Err())
	}
	a = Archive{}
	a.Tree("", os.DirFS(filepath.Join(dir, "missing")))
	if !errors.Is(a.Err(), fs.ErrNotExist) {
		t.Errorf("error %v", a.Err())
	}
}

// TestChanges gives files that are not what they were when they were added.
func TestChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, size := range []int{0, 9, 11, -1} {
		if err := os.WriteFile(path, make([]byte, 10), 0o600); err != nil {
			t.Fatal(err)
		}
		var a Archive
		a.HostFile("f", Attr{}, path)
		if size < 0 {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		} else if err := os.Truncate(path, int64(size)); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Bytes(); err == nil {
			t.Errorf("a file that went from 10 to %d bytes was taken", size)
		}
	}
}

type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after -= len(p); f.after < 0 {
		return 0, errors.New("disk full")
	}
	return len(p), nil
}

func TestWriteErrors(t *testing.T) {
	var a Archive
	a.File("big", Attr{}, make([]byte, 1<<20))
	for _, after := range []int{0, 1 << 16, 1 << 20} {
		if _, err := a.WriteTo(&failing{after}); err == nil {
			t.Errorf("no error after %d bytes", after)
		}
	}
}

// TestSeveral reads what a guest gets: archives with zeros between.
func TestSeveral(t *testing.T) {
	var first, second Archive
	first.File("one", Attr{}, []byte("1"))
	second.File("two", Attr{}, []byte("22"))
	stream := append(build(t, &first), make([]byte, 4096)...)
	stream = append(stream, build(t, &second)...)
	r := NewReader(bytes.NewReader(append(stream, 0, 0, 0)))
	if err := r.NextArchive(); !errors.Is(err, ErrFormat) {
		t.Errorf("NextArchive before the end: %v", err)
	}
	if files := readAll(t, r); len(files) != 1 || files[0].Name != "one" {
		t.Fatalf("first archive %+v", files)
	}
	if err := r.NextArchive(); err != nil {
		t.Fatal(err)
	}
	if files := readAll(t, r); len(files) != 1 || files[0].data != "22" {
		t.Fatalf("second archive %+v", files)
	}
	if err := r.NextArchive(); !errors.Is(err, io.EOF) {
		t.Errorf("NextArchive at the end: %v", err)
	}
}

func TestReaderErrors(t *testing.T) {
	whole := build(t, sample())
	for n := range len(whole) {
		r := NewReader(bytes.NewReader(whole[:n]))
		var err error
		for err == nil {
			_, err = r.Next()
		}
		if n < len(whole)-1 && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(whole), err)
		}
	}
	// Contents that end too soon.
	r := NewReader(bytes.NewReader(whole[:len(whole)-200]))
	var err error
	for err == nil {
		if _, err = r.Next(); err == nil {
			_, err = io.ReadAll(r)
		}
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v", err)
	}
	spoil := func(at int, with string) []byte {
		b := bytes.Clone(whole)
		copy(b[at:], with)
		return b
	}
	for name, b := range map[string][]byte{
		"old format":   spoil(0, "070707"),
		"digit":        spoil(20, "x"),
		"no name":      spoil(94, "00000000"),
		"empty name":   spoil(94, "00000001"),
		"long name":    spoil(94, "00001001"),
		"huge name":    spoil(94, "FFFFFFFF"),
		"NUL in name":  spoil(111, "\x00"),
		"name not end": spoil(113, "x"),
	} {
		if _, err := NewReader(bytes.NewReader(b)).Next(); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// FuzzReader reads anything; what it accepts has to come to an end.
func FuzzReader(f *testing.F) {
	whole, err := sample().Bytes()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:200])
	f.Add([]byte("070701" + strings.Repeat("F", 104)))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b))
		for entries := 0; ; entries++ {
			if entries > len(b)/headerSize {
				t.Fatalf("%d entries in %d bytes", entries, len(b))
			}
			h, err := r.Next()
			if err == nil {
				if len(h.Name) >= maxName || strings.IndexByte(h.Name, 0) >= 0 {
					t.Fatalf("name %q", h.Name)
				}
				n, err := io.Copy(io.Discard, r)
				if n > int64(h.Size) || err == nil && n != int64(h.Size) {
					t.Fatalf("%d of %d bytes: %v", n, h.Size, err)
				}
				continue
			}
			if errors.Is(err, io.EOF) && r.NextArchive() == nil {
				continue
			}
			return
		}
	})
}

// FuzzArchive writes anything that is accepted and reads it back.
func FuzzArchive(f *testing.F) {
	f.Add("bin/sh", "etc/passwd", []byte("root"), "busybox", uint32(0o755))
	f.Add("../x", "/", []byte{}, "\x00", uint32(1<<31))
	f.Add("a//b/./c", "a", []byte("123"), "/", uint32(0))
	f.Fuzz(func(t *testing.T, name1, name2 string, data []byte, target string, mode uint32) {
		var a Archive
		a.File(name1, Attr{Mode: mode}, data)
		a.Symlink(name2, target)
		b, err := a.Bytes()
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		dirs, found := map[string]bool{"": true}, 0
		for _, file := range readAll(t, NewReader(bytes.NewReader(b))) {
			parent, _, _ := cutLast(file.Name)
			if !dirs[parent] {
				t.Errorf("%q comes before its directory", file.Name)
			}
			switch file.Mode & TypeMask {
			case TypeDir:
				dirs[file.Name] = true
			case TypeRegular:
				found++
				if file.data != string(data) || file.Mode&permMask != mode {
					t.Errorf("file %+v", file)
				}
			case TypeSymlink:
				found++
				if file.data != target {
					t.Errorf("link %+v", file)
				}
			}
		}
		if found != 2 {
			t.Errorf("%d of 2 entries", found)
		}
	})
}

func cutLast(name string) (dir, base string, ok bool) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:], true
	}
	return "", name, false
}
