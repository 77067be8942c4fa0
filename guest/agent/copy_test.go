package agent

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// tree makes files, directories and links of all kinds.
func tree(t *testing.T, dir string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	big := make([]byte, 3<<20+17)
	for i := range big {
		big[i] = byte(rand.Uint32())
	}
	must(os.MkdirAll(filepath.Join(dir, "a/b/c"), 0o755))
	must(os.WriteFile(filepath.Join(dir, "a/big"), big, 0o600))
	must(os.WriteFile(filepath.Join(dir, "a/b/empty"), nil, 0o644))
	must(os.WriteFile(filepath.Join(dir, "a/b/script"), []byte("#!/bin/sh\n"), 0o755))
	must(os.Symlink("../big", filepath.Join(dir, "a/b/link")))
	must(os.Symlink("/nowhere", filepath.Join(dir, "dangling")))
	must(syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600)) // is left out
	must(os.Chmod(filepath.Join(dir, "a/b"), 0o511))
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "a/b"), 0o755) })
	old := time.Unix(1_000_000_000, 123_000_000)
	must(os.Chtimes(filepath.Join(dir, "a/big"), old, old))
	must(os.Chtimes(filepath.Join(dir, "a/b/c"), old, old))
}

// listing describes all below dir but pipes.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil || st.Mode().Type() == fs.ModeNamedPipe {
			return err
		}
		name := strings.TrimPrefix(path, dir)
		fmt.Fprintf(&b, "%s %v ", name, st.Mode())
		switch st.Mode().Type() {
		case 0:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%d %x %v", len(data), sha256.Sum256(data), st.ModTime().UnixNano())
		case fs.ModeDir:
			if name == "/a/b/c" {
				fmt.Fprint(&b, st.ModTime().UnixNano())
			}
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			b.WriteString(target)
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestCopyThereAndBack(t *testing.T) {
	c := newGuest(t, ServeOptions{})
	from, guest, back := t.TempDir(), t.TempDir(), t.TempDir()
	tree(t, from)
	ctx := testContext(t)
	for _, d := range []string{guest, back} {
		t.Cleanup(func() { _ = os.Chmod(filepath.Join(d, "copy/a/b"), 0o755) })
	}
	if err := c.CopyTo(ctx, from, guest+"/copy"); err != nil {
		t.Fatal(err)
	}
	if err := c.CopyFrom(ctx, guest+"/copy", back, CopyLimits{}); err != nil {
		t.Fatal(err)
	}
	want := listing(t, from)
	if got := listing(t, guest+"/copy"); got != want {
		t.Errorf("in the guest:\n%s\nwant\n%s", got, want)
	}
	if got := listing(t, back+"/copy"); got != want {
		t.Errorf("back on the host:\n%s\nwant\n%s", got, want)
	}
	// A file onto a file, and into a directory.
	if err := c.CopyTo(ctx, from+"/a/b/script", guest+"/copy/a/big"); err != nil {
		t.Fatal(err)
	}
	if err := c.CopyTo(ctx, from+"/a/b/script", guest+"/"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"copy/a/big", "script"} {
		if b, err := os.ReadFile(guest + "/" + name); err != nil || string(b) != "#!/bin/sh\n" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if left, _ := filepath.Glob(guest + "/.gureum-*"); left != nil {
		t.Errorf("left over: %v", left)
	}
}

func TestCopyFails(t *testing.T) {
	c := newGuest(t, ServeOptions{})
	dir := t.TempDir()
	ctx := testContext(t)
	if err := os.WriteFile(dir+"/file", make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	var there *CopyError
	if err := c.CopyFrom(ctx, dir+"/missing", dir+"/x", CopyLimits{}); !errors.As(err, &there) || there.Errno != int(syscall.ENOENT) {
		t.Errorf("a missing file of the guest: %v", err)
	}
	if err := c.CopyTo(ctx, dir+"/missing", dir+"/x"); !errors.Is(err, fs.ErrNotExist) || errors.As(err, &there) {
		t.Errorf("a missing file of the host: %v", err)
	}
	if err := c.CopyTo(ctx, dir+"/file", dir+"/no/such/place"); !errors.As(err, &there) || there.Errno != int(syscall.ENOENT) {
		t.Errorf("into a missing directory: %v", err)
	}
	if err := c.CopyFrom(ctx, dir+"/file", dir+"/no/such/place", CopyLimits{}); !errors.Is(err, fs.ErrNotExist) || errors.As(err, &there) {
		t.Errorf("from, into a missing directory: %v", err)
	}
	if err := c.CopyFrom(ctx, dir+"/file", dir+"/x", CopyLimits{Bytes: 1000}); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("more than the limit: %v", err)
	}
	if _, err := os.Lstat(dir + "/x"); err == nil {
		t.Error("a copy that failed is there")
	}
	if err := c.CopyTo(ctx, "/", dir+"/x"); err == nil {
		t.Error("/ can be copied")
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if err := c.CopyTo(canceled, dir+"/file", dir+"/x"); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// TestCopiesAndCommandsAtOnce runs commands and copies on one connection.
func TestCopiesAndCommandsAtOnce(t *testing.T) {
	c := newGuest(t, ServeOptions{})
	dir := t.TempDir()
	data := bytes.Repeat([]byte("0123456789abcdef"), 40_000)
	if err := os.WriteFile(dir+"/in", data, 0o644); err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	for i := range 10 {
		work.Go(func() {
			st, out, _, err := run(t, c, Command{Args: []string{"cat"}, Stdin: bytes.NewReader(data)})
			if err != nil || st.Code != 0 || out != string(data) {
				t.Errorf("command %d: %v, %v, %d bytes", i, st, err, len(out))
			}
		})
		work.Go(func() {
			name := fmt.Sprintf("%s/out%d", dir, i)
			err := errors.Join(
				c.CopyTo(testContext(t), dir+"/in", name),
				c.CopyFrom(testContext(t), name, name+"back", CopyLimits{}))
			if b, e := os.ReadFile(name + "back"); err != nil || !bytes.Equal(b, data) {
				t.Errorf("copy %d: %v, %v, %d bytes", i, err, e, len(b))
			}
		})
		work.Go(func() {
			if _, err := c.Info(testContext(t)); err != nil {
				t.Errorf("info: %v", err)
			}
		})
	}
	work.Wait()
}

func TestInfoAndTime(t *testing.T) {
	var set time.Time
	c := newGuest(t, ServeOptions{SetTime: func(n time.Time) error {
		if n.Unix() == 5 {
			return syscall.EPERM
		}
		set = n
		return nil
	}})
	i, err := c.Info(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if i.MemTotal == 0 || i.MemAvailable == 0 || i.CPUs == 0 || i.Kernel == "" || i.Uptime == 0 || time.Since(i.Time).Abs() > time.Minute {
		t.Errorf("%+v", i)
	}
	want := time.Unix(1_700_000_000, 12345)
	if err := c.SetTime(testContext(t), want); err != nil || !set.Equal(want) {
		t.Errorf("set to %v, %v", set, err)
	}
	if err := c.SetTime(testContext(t), time.Unix(5, 0)); !errors.Is(err, syscall.EPERM) {
		t.Errorf("%v, want EPERM", err)
	}
	if err := newGuest(t, ServeOptions{}).SetTime(testContext(t), want); !errors.Is(err, ErrUnsupported) {
		t.Errorf("%v, want ErrUnsupported", err)
	}
}

// stream makes a copy out of entries, whose contents are zeros.
func stream(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	for _, e := range entries {
		if err := e.write(w); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(make([]byte, max(0, min(e.size, 1<<20))))
	}
	_ = w.Flush()
	return b.Bytes()
}

// TestHostileCopies has copies that want to write elsewhere.
func TestHostileCopies(t *testing.T) {
	dir := entry{kind: entryDirectory, mode: 0o755}
	end := entry{kind: entryEnd}
	file := func(name string) entry { return entry{kind: entryFile, mode: 0o644, name: name, size: 3} }
	link := func(name, target string) entry { return entry{kind: entrySymlink, name: name, target: target} }
	outside := t.TempDir()
	for name, s := range map[string][]byte{
		"up":                    stream(t, dir, file("../evil"), end),
		"up and down":           stream(t, dir, file("a/../../evil"), end),
		"absolute":              stream(t, dir, file(outside+"/evil"), end),
		"dot":                   stream(t, dir, file("./evil"), end),
		"through a link":        stream(t, dir, link("l", outside), file("l/evil"), end),
		"through a link up":     stream(t, dir, link("l", "../.."), file("l/evil"), end),
		"link, then directory":  stream(t, dir, link("l", outside), entry{kind: entryDirectory, mode: 0o777, name: "l"}, file("l/evil"), end),
		"two tops":              stream(t, dir, file(""), end),
		"no top":                stream(t, file("evil"), end),
		"below a file":          stream(t, file(""), file("evil"), end),
		"empty":                 stream(t, end),
		"no end":                stream(t, dir),
		"NUL":                   stream(t, dir, file("a\x00b"), end),
		"unknown kind":          stream(t, entry{kind: 'B'}, end),
		"mode of a file type":   stream(t, entry{kind: entryFile, mode: 0xFFFF}, end),
		"negative size":         stream(t, entry{kind: entryFile, size: -1}, end),
		"content of a link":     stream(t, dir, entry{kind: entrySymlink, name: "l", target: "x", size: 3}, end),
		"link without a target": stream(t, dir, link("l", ""), end),
		"long name":             stream(t, dir, file(strings.Repeat("x", maxName+1)), end),
	} {
		place := t.TempDir()
		err := unpack(bytes.NewReader(s), place+"/top", "x", 0o777, CopyLimits{})
		if err == nil {
			t.Errorf("%s: was taken", name)
		}
		if left, _ := filepath.Glob(outside + "/*"); left != nil {
			t.Errorf("%s: wrote %v", name, left)
		}
		if left, _ := filepath.Glob(place + "/*"); len(left) > 1 || len(left) == 1 && left[0] != place+"/top" {
			t.Errorf("%s: wrote %v", name, left)
		}
	}
	// What is a link already is replaced, not followed.
	place := t.TempDir()
	if err := os.Symlink(outside+"/evil", place+"/top"); err != nil {
		t.Fatal(err)
	}
	if err := unpack(bytes.NewReader(stream(t, file(""), end)), place+"/top", "x", 0o777, CopyLimits{}); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Lstat(place + "/top"); err != nil || !st.Mode().IsRegular() {
		t.Errorf("%v, %v", st, err)
	}
	// Set-user-ID does not come to the host.
	suid := file("")
	suid.mode = 0o4777
	if err := unpack(bytes.NewReader(stream(t, suid, end)), place+"/top", "x", 0o777, CopyLimits{}); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Lstat(place + "/top"); err != nil || st.Mode() != 0o777 {
		t.Errorf("%v, %v", st, err)
	}
	// Limits of both kinds.
	if err := unpack(bytes.NewReader(stream(t, dir, file("a"), file("b"), end)), place+"/t", "x", 0o777, CopyLimits{Entries: 2}); err == nil {
		t.Error("more entries than the limit were taken")
	}
}

// FuzzUnpack writes copies of any contents: nothing appears beside their top.
func FuzzUnpack(f *testing.F) {
	f.Add(stream(f, entry{kind: entryDirectory, mode: 0o755}, entry{kind: entrySymlink, name: "l", target: "/tmp"}, entry{kind: entryFile, name: "l/x", size: 3}, entry{kind: entryEnd}))
	f.Add(stream(f, entry{kind: entryFile, mode: 0o4755, size: 10, mtime: time.Unix(-5, 7)}, entry{kind: entryEnd}))
	f.Fuzz(func(t *testing.T, s []byte) {
		place := t.TempDir()
		if err := os.WriteFile(place+"/witness", []byte("w"), 0o600); err != nil {
			t.Fatal(err)
		}
		inner := place + "/inner"
		if err := os.Mkdir(inner, 0o700); err != nil {
			t.Fatal(err)
		}
		_ = unpack(bytes.NewReader(s), inner+"/top", "x", 0o777, CopyLimits{Bytes: 1 << 20, Entries: 100})
		for _, where := range []struct {
			dir string
			n   int
		}{{place, 2}, {inner, 1}} {
			list, err := os.ReadDir(where.dir)
			if err != nil || len(list) > where.n {
				t.Fatalf("%v, %v", list, err)
			}
		}
		if b, err := os.ReadFile(place + "/witness"); err != nil || string(b) != "w" {
			t.Fatalf("%q, %v", b, err)
		}
		// What could not be entered shall be removable at the end of the test.
		_ = filepath.WalkDir(inner, func(path string, d fs.DirEntry, _ error) error {
			if d != nil && d.IsDir() {
				_ = os.Chmod(path, 0o700)
			}
			return nil
		})
	})
}
