package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/disk"
	"github.com/gureum/gureum/guest/image/archive"
	"github.com/gureum/gureum/guest/image/ext4"
)

var made = time.Unix(1_700_000_000, 0)

func newStore(t testing.TB) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "images"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// rootTar is a root file system with two kernels.
func rootTar(t testing.TB, more ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	files := append([]string{
		"etc/os-release", "NAME=x\nPRETTY_NAME=\"Test \x1b[31mOS 1\"\n", "usr/bin/true", "",
		"boot/vmlinuz-6.9.0", "old kernel", "boot/vmlinuz-6.10.0-1", "new kernel",
		"boot/initrd.img-6.9.0", "old initrd", "boot/initrd.img-6.10.0-1", strings.Repeat("new initrd", 10000),
	}, more...)
	for i := 0; i < len(files); i += 2 {
		h := &tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1])), ModTime: made, Typeflag: tar.TypeReg}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(w, files[i+1])
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t testing.TB, name string, p []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, p, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func options(name string) ImportOptions {
	return ImportOptions{Name: name, Size: 64 << 20, Time: made}
}

func mustImport(t testing.TB, s *Store, path string, o ImportOptions) Image {
	t.Helper()
	img, err := s.Import(t.Context(), path, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func read(t testing.TB, path string) string {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}

// nothingLeft fails if a store has drafts.
func nothingLeft(t testing.TB, s *Store) {
	t.Helper()
	entries, err := os.ReadDir(s.drafts())
	if err != nil && !errors.Is(err, fs.ErrNotExist) || len(entries) > 0 {
		t.Errorf("drafts: %v, %v", entries, err)
	}
}

func TestImportRootFS(t *testing.T) {
	s := newStore(t)
	path := write(t, "root.tar", rootTar(t))
	img := mustImport(t, s, path, options("one"))
	if img.OS != "Test [31mOS 1" || img.Release != "6.10.0-1" || img.Size != 64<<20 || !slices.Equal(img.Names, []string{"one"}) {
		t.Errorf("%+v", img)
	}
	if out, err := exec.Command("/usr/sbin/e2fsck", "-fn", img.DiskPath()).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
	r, err := s.Resolve("one")
	if err != nil {
		t.Fatal(err)
	}
	if read(t, r.Kernel) != "new kernel" || len(read(t, r.Initrd)) != 100000 {
		t.Error("the wrong kernel or RAM disk")
	}
	out, err := exec.Command("/usr/sbin/blkid", "-p", "-s", "UUID", "-o", "value", r.Disk).Output()
	if err != nil || r.Cmdline != "root=UUID="+strings.TrimSpace(string(out))+" rw" {
		t.Errorf("%s, %s, %v", r.Cmdline, out, err)
	}
	// The same makes the same, from another form of it too; in qcow2 it is another image.
	again, err := s.Import(t.Context(), "-", bytes.NewReader(rootTar(t)), options("two"))
	if err != nil || again.ID != img.ID || !slices.Equal(again.Names, []string{"one", "two"}) {
		t.Errorf("%+v, %v", again, err)
	}
	o := options("three")
	o.Format = disk.Qcow2
	q := mustImport(t, s, path, o)
	if info, err := disk.Info(q.DiskPath(), disk.Qcow2); q.ID == img.ID || err != nil || info.VirtualSize != 64<<20 {
		t.Errorf("%+v, %v", info, err)
	}
	flat := filepath.Join(t.TempDir(), "flat")
	if out, err := exec.Command("qemu-img", "convert", "-O", "raw", q.DiskPath(), flat).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command("/usr/sbin/e2fsck", "-fn", flat).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
	nothingLeft(t, s)
}

// TestImportDisk imports a disk with a GPT, a root partition and one for /boot, as
// distributions publish them, and a file system without a table.
func TestImportDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gpt.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(100 << 20); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(gpt([2]uint64{2048, 32768}, [2]uint64{40960, 131072}), 0); err != nil {
		t.Fatal(err)
	}
	put(t, f, 2048*512, 32768*512, "vmlinuz-5.0", "kernel of /boot")
	put(t, f, 40960*512, 131072*512, "etc/os-release", "PRETTY_NAME=GPT\n", "usr/bin/true", "")
	s := newStore(t)
	img := mustImport(t, s, path, options("gpt"))
	if img.OS != "GPT" || img.Cmdline != "root=PARTUUID=04030201-0605-0807-090a-0b0c0d0e0f02 rw" || read(t, img.file(img.Kernel)) != "kernel of /boot" || img.Initrd != "" {
		t.Errorf("%+v", img.Manifest)
	}
	if read(t, img.DiskPath()) != read(t, path) {
		t.Error("the disk was changed")
	}
	// Its copy in qcow2.
	q := filepath.Join(t.TempDir(), "gpt.qcow2")
	if out, err := exec.Command("qemu-img", "convert", "-c", "-O", "qcow2", path, q).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if img = mustImport(t, s, q, options("q")); img.Format != "qcow2" || img.Release != "5.0" || img.Size != 100<<20 {
		t.Errorf("%+v", img.Manifest)
	}
	// One with a backing file stays out: it could name any file of the host.
	backed := filepath.Join(t.TempDir(), "backed.qcow2")
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-b", path, "-F", "raw", backed).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := s.Import(t.Context(), backed, nil, options("b")); !errors.Is(err, disk.ErrBacking) {
		t.Error(err)
	}
	// Neither a table nor a file system.
	empty := write(t, "empty.img", make([]byte, 1<<20))
	o := options("empty")
	o.Kind = Disk
	if img = mustImport(t, s, empty, o); img.Kernel != "" || img.Cmdline != "" {
		t.Errorf("%+v", img.Manifest)
	}
	nothingLeft(t, s)
}

// gpt is a partition table of partitions by first sector and length, with no copy at the
// disk's end.
func gpt(parts ...[2]uint64) []byte {
	le := binary.LittleEndian
	p := make([]byte, 34*512)
	p[510], p[511] = 0x55, 0xAA
	for i, part := range parts {
		e := p[1024+i*128:]
		copy(e, "\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4") // Linux
		copy(e[16:], []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, byte(i + 1)})
		le.PutUint64(e[32:], part[0])
		le.PutUint64(e[40:], part[0]+part[1]-1)
	}
	h := p[512:604]
	copy(h, "EFI PART\x00\x00\x01\x00\x5c")
	le.PutUint64(h[24:], 1)
	le.PutUint64(h[72:], 2)
	le.PutUint32(h[80:], 128)
	le.PutUint32(h[84:], 128)
	le.PutUint32(h[88:], crc32.ChecksumIEEE(p[1024:1024+128*128]))
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h))
	return p
}

// put makes a file system in a part of a file.
func put(t *testing.T, f *os.File, off, size int64, files ...string) {
	t.Helper()
	w, err := ext4.New(io.NewOffsetWriter(f, off), ext4.Config{Size: size, Time: made})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(files); i += 2 {
		if err := w.Put(files[i], ext4.Attr{Type: ext4.TypeRegular, ModTime: made}, int64(len(files[i+1])), strings.NewReader(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
}

// TestFailedImports must leave the store as it was, and the host too.
func TestFailedImports(t *testing.T) {
	s := newStore(t)
	path := write(t, "root.tar", rootTar(t))
	before := mustImport(t, s, path, options("web"))
	canceled, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	small := options("web")
	small.Size = ext4.MinSize
	for name, test := range map[string]struct {
		path string
		ctx  context.Context
		o    ImportOptions
		err  error
	}{
		"cut short":    {path: write(t, "cut", rootTar(t)[:5000]), o: options("web"), err: archive.ErrFormat},
		"hostile":      {path: write(t, "hostile", rootTar(t, "../../../../tmp/escaped", "x")), o: options("web"), err: ext4.ErrPath},
		"too large":    {path: write(t, "large", rootTar(t, "f", strings.Repeat("x", 8<<20))), o: small, err: ext4.ErrNoSpace},
		"no archive":   {path: write(t, "rubbish", bytes.Repeat([]byte("rubbish "), 1000)), o: options("web"), err: archive.ErrFormat},
		"empty":        {path: write(t, "empty", nil), o: options("web"), err: archive.ErrFormat},
		"not there":    {path: "/nonexistent", o: options("web"), err: fs.ErrNotExist},
		"bad name":     {path: path, o: options("../web"), err: ErrName},
		"no container": {path: t.TempDir(), o: options("web"), err: archive.ErrFormat},
	} {
		ctx := test.ctx
		if ctx == nil {
			ctx = t.Context()
		}
		if _, err := s.Import(ctx, test.path, nil, test.o); !errors.Is(err, test.err) {
			t.Errorf("%s: %v, want %v", name, err, test.err)
		}
	}
	if _, err := s.Import(canceled, path, nil, options("web")); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("canceled: %v", err)
	}
	list, err := s.List()
	if err != nil || len(list) != 1 || list[0].ID != before.ID {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := os.Lstat("/tmp/escaped"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the archive wrote outside the image")
	}
	nothingLeft(t, s)
}

func TestRemove(t *testing.T) {
	s := newStore(t)
	path := write(t, "root.tar", rootTar(t))
	img := mustImport(t, s, path, options("a"))
	mustImport(t, s, path, options("b"))
	if err := s.Remove("a", false); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get("a"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	// A machine reads it.
	d, err := disk.Open(img.DiskPath(), disk.Options{Format: disk.Raw, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remove("b", false); !errors.Is(err, ErrInUse) {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	// A disk of the user's is an overlay on it.
	r, err := s.Resolve("b")
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(t.TempDir(), "web.qcow2")
	if _, err := s.OpenOverlay(r, overlay, 1<<30); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove("b", false); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), overlay) {
		t.Error(err)
	}
	// The name goes on to another image; the overlay boots what it is on.
	other := mustImport(t, s, write(t, "other.tar", rootTar(t, "other", "x")), options("b"))
	now, err := s.Resolve("b")
	if err != nil || now.ID != other.ID || now.ID == img.ID {
		t.Fatal(now, err)
	}
	if old, err := s.OpenOverlay(now, overlay, 0); err != nil || old.ID != img.ID || old.Disk != img.DiskPath() {
		t.Errorf("%+v, %v", old, err)
	}
	if err := os.Remove(overlay); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{img.ID[:6], "b"} {
		if err := s.Remove(ref, false); err != nil {
			t.Error(ref, err)
		}
	}
	if list, err := s.List(); err != nil || len(list) > 0 {
		t.Error(list, err)
	}
	if err := s.Remove("b", true); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	nothingLeft(t, s)
}

// TestOverlayAboveTheStore opens an overlay again whose base is in a folder below its
// own: the base is recorded relative to it then.
func TestOverlayAboveTheStore(t *testing.T) {
	s := newStore(t)
	img := mustImport(t, s, write(t, "a.tar", rootTar(t)), options("web"))
	r, err := s.Resolve("web")
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(filepath.Dir(s.dir), "mine.qcow2")
	for range 2 {
		if base, err := s.OpenOverlay(r, overlay, 0); err != nil || base.ID != img.ID {
			t.Fatal(base, err)
		}
	}
	if info, err := disk.Info(overlay, disk.Qcow2); err != nil || filepath.IsAbs(info.Backing) {
		t.Errorf("%+v, %v", info, err)
	}
}

// TestAtomic has readers that must never see half an image while a name changes hands.
func TestAtomic(t *testing.T) {
	s := newStore(t)
	paths := []string{write(t, "a.tar", rootTar(t)), write(t, "b.tar", rootTar(t, "b", "b"))}
	mustImport(t, s, paths[0], options("web"))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			r, err := s.Resolve("web")
			if err != nil || r.Kernel == "" || r.Cmdline == "" {
				t.Errorf("%+v, %v", r, err)
				return
			}
		}
	})
	var makers sync.WaitGroup
	for _, path := range paths {
		makers.Go(func() {
			for range 5 {
				if _, err := s.Import(t.Context(), path, nil, options("web")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	makers.Wait()
	close(stop)
	wg.Wait()
	nothingLeft(t, s)
}

// TestKilledMaker has a draft whose maker is gone: its lock has ended.
func TestKilledMaker(t *testing.T) {
	s := newStore(t)
	d, err := s.newDraft()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.path("disk.raw"), []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	alive, err := s.newDraft() // does not take it away
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(d.path("disk.raw")); err != nil {
		t.Fatal(err)
	}
	_ = d.lock.Close() // as at the maker's end
	again, err := s.newDraft()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(d.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it is still there")
	}
	if err := errors.Join(alive.close(), again.close()); err != nil {
		t.Error(err)
	}
	nothingLeft(t, s)
}

func TestScratch(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s := newStore(t)
	img := mustImport(t, s, write(t, "root.tar", rootTar(t)), options("a"))
	r, err := s.Resolve("a")
	if err != nil {
		t.Fatal(err)
	}
	x, err := r.NewScratch(1 << 30)
	if err != nil {
		t.Fatal(err)
	}
	dead, err := r.NewScratch(0)
	if err != nil {
		t.Fatal(err)
	}
	d, err := disk.Open(x.Path, disk.Options{Format: disk.Qcow2, BackingDirs: []string{img.Dir}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt([]byte("changed"), 4096); err != nil || d.Size() != 1<<30 {
		t.Error(err)
	}
	if used, err := img.InUse(); !used || err != nil {
		t.Error("the image is in use and does not say so:", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	// One whose process was killed goes with the next; the others stay.
	_ = dead.lock.Close()
	old := unix.NsecToTimeval(time.Now().Add(-time.Hour).UnixNano())
	for _, path := range []string{x.Path, dead.Path} {
		if err := unix.Utimes(path, []unix.Timeval{old, old}); err != nil {
			t.Fatal(err)
		}
	}
	y, err := r.NewScratch(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dead.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("what was left is still there")
	}
	if err := errors.Join(x.Close(), y.Close()); err != nil {
		t.Error(err)
	}
	// A folder that others can enter is refused.
	if err := os.Chmod(filepath.Dir(x.Path), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := r.NewScratch(0); err == nil {
		t.Error("it takes a folder that others can enter")
	}
}

func TestCompareVersions(t *testing.T) {
	for _, order := range [][]string{{"5.9", "5.10", "5.10.1", "6.1.0-9-amd64", "6.1.0-44-amd64", "6.1.0-44-cloud-amd64"}} {
		for i := range order {
			for j := range order {
				got := compareVersions(order[i], order[j])
				if i < j && got >= 0 || i > j && got <= 0 || i == j && got != 0 {
					t.Errorf("%s and %s: %d", order[i], order[j], got)
				}
			}
		}
	}
}
