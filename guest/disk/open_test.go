package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/gureum/gureum/guest/disk"
)

func TestAFormatIsNeverGuessed(t *testing.T) {
	dir := t.TempDir()
	qcow, raw := filepath.Join(dir, "q.img"), filepath.Join(dir, "r.qcow2")
	if err := disk.Create(qcow, mib, disk.Qcow2, disk.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := disk.Create(raw, mib, disk.Raw, disk.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path   string
		format disk.Format
		want   error
		size   int64
	}{
		{qcow, "", disk.ErrFormat, 0},
		{qcow, disk.Qcow2, nil, mib},
		{qcow, disk.Raw, nil, 0}, // named: the guest gets the bytes as they are
		{raw, "", disk.ErrFormat, 0},
		{raw, disk.Qcow2, disk.ErrFormat, 0},
		{raw, disk.Raw, nil, mib},
		{raw, "vmdk", disk.ErrFormat, 0},
		{filepath.Join(dir, "none"), "", os.ErrNotExist, 0},
		{dir, "", syscall.EISDIR, 0},
		{"/dev/null", disk.Raw, disk.ErrFormat, 0},
	} {
		d, err := disk.Open(c.path, disk.Options{Format: c.format})
		if !errors.Is(err, c.want) {
			t.Errorf("open %s as %q: %v, want %v", c.path, c.format, err, c.want)
		}
		if err == nil {
			if c.size != 0 && d.Size() != c.size {
				t.Errorf("open %s as %q: size %d", c.path, c.format, d.Size())
			}
			shut(t, d)
		} else if !strings.Contains(err.Error(), c.path) {
			t.Errorf("%v does not name the file", err)
		}
	}
	if f, err := disk.Detect(qcow); f != disk.Qcow2 || err != nil {
		t.Errorf("detect: %q, %v", f, err)
	}
	if f, err := disk.Detect(raw); f != disk.Raw || err != nil {
		t.Errorf("detect: %q, %v", f, err)
	}
}

func TestTwoWritersAreRefused(t *testing.T) {
	for _, format := range []disk.Format{disk.Raw, disk.Qcow2} {
		path := temp(t, "a."+string(format))
		if err := disk.Create(path, mib, format, disk.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		ro, rw := disk.Options{ReadOnly: true}, disk.Options{}
		for _, c := range []struct {
			first, second disk.Options
			ok            bool
		}{{rw, rw, false}, {rw, ro, false}, {ro, rw, false}, {ro, ro, true}} {
			d := open(t, path, c.first)
			other, err := disk.Open(path, c.second)
			if c.ok != (err == nil) || (!c.ok && (!errors.Is(err, disk.ErrLocked) || !strings.Contains(err.Error(), path))) {
				t.Errorf("%s: %+v then %+v: %v", format, c.first, c.second, err)
			}
			if err == nil {
				shut(t, other)
			}
			shut(t, d)
		}
		shut(t, open(t, path, rw)) // all locks are gone
	}
}

// TestLocksHoldAgainstQemu runs QEMU's tools, which lock images too, beside an open image.
func TestLocksHoldAgainstQemu(t *testing.T) {
	path := temp(t, "a.qcow2")
	if err := disk.Create(path, mib, disk.Qcow2, disk.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	d := open(t, path, disk.Options{})
	for _, cmd := range []string{"qemu-img check -f qcow2 ", "qemu-io -f qcow2 -c 'write 0 1k' ", "qemu-io -r -f qcow2 -c 'read 0 1k' "} {
		if out := qemu(t, "sh", "-c", cmd+path+" 2>&1 || true"); !strings.Contains(out, "lock") {
			t.Errorf("%s while we write: %s", cmd, out)
		}
	}
	shut(t, d)
	d = open(t, path, disk.Options{ReadOnly: true})
	if out := qemu(t, "sh", "-c", "qemu-io -f qcow2 -c 'write 0 1k' "+path+" 2>&1 || true"); !strings.Contains(out, "lock") {
		t.Errorf("qemu-io writes while we read: %s", out)
	}
	qemu(t, "qemu-io", "-r", "-f", "qcow2", "-c", "read 0 1k", path)
	shut(t, d)

	// And the other way.
	for _, c := range []struct {
		flags  string
		option disk.Options
		ok     bool
	}{{"-f qcow2", disk.Options{}, false}, {"-f qcow2", disk.Options{ReadOnly: true}, false}, {"-r -f qcow2", disk.Options{}, false}, {"-r -f qcow2", disk.Options{ReadOnly: true}, true}} {
		holdByQemu(t, c.flags, path, func() {
			d, err := disk.Open(path, c.option)
			if c.ok != (err == nil) || (!c.ok && !errors.Is(err, disk.ErrLocked)) {
				t.Errorf("open %+v while qemu-io %s: %v", c.option, c.flags, err)
			}
			if err == nil {
				shut(t, d)
			}
		})
	}
}

func TestOverlaysShareABase(t *testing.T) {
	for _, format := range []disk.Format{disk.Raw, disk.Qcow2} {
		dir := t.TempDir()
		base := filepath.Join(dir, "base."+string(format))
		if err := disk.Create(base, 5*mib, format, disk.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		d := open(t, base, disk.Options{})
		want := text(5*mib, 1)
		write(t, d, want, 0)
		shut(t, d)
		before, err := os.ReadFile(base)
		if err != nil {
			t.Fatal(err)
		}

		const overlays = 4
		var wg sync.WaitGroup
		for i := range overlays {
			path := filepath.Join(dir, fmt.Sprintf("o%d.qcow2", i))
			if err := disk.CreateOverlay(path, base, disk.OverlayOptions{}); err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				d, err := disk.Open(path, disk.Options{AllowBacking: true})
				if err != nil {
					t.Error(err)
					return
				}
				mine := bytes.Clone(want)
				for off := i * 1000; off < len(mine)-3000; off += 70_000 {
					copy(mine[off:], text(3000, byte(100+i)))
					if _, err := d.WriteAt(mine[off:off+3000], int64(off)); err != nil {
						t.Error(err)
					}
				}
				got := make([]byte, len(mine))
				if _, err := d.ReadAt(got, 0); err != nil || !bytes.Equal(got, mine) {
					t.Errorf("overlay %d reads otherwise, %v", i, err)
				}
				if _, err := disk.Open(base, disk.Options{}); !errors.Is(err, disk.ErrLocked) {
					t.Errorf("the base can be written to under an overlay: %v", err)
				}
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		after, err := os.ReadFile(base)
		if err != nil || !bytes.Equal(before, after) {
			t.Errorf("the base changed, %v", err)
		}
		info, err := disk.Info(filepath.Join(dir, "o0.qcow2"), "")
		if err != nil || info.Backing != "base."+string(format) || info.BackingFormat != format || info.VirtualSize != 5*mib {
			t.Errorf("%+v, %v", info, err)
		}
		for i := range overlays {
			qemu(t, "qemu-img", "check", filepath.Join(dir, fmt.Sprintf("o%d.qcow2", i)))
		}
	}
}

func TestBackingFilesAreHeldToWhatIsAllowed(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	base, outside := filepath.Join(dir, "base.raw"), filepath.Join(elsewhere, "secret.raw")
	for _, p := range []string{base, outside} {
		if err := os.WriteFile(p, text(mib, 1), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link.raw")); err != nil {
		t.Fatal(err)
	}
	allow := disk.Options{AllowBacking: true}
	for i, c := range []struct {
		args []string
		o    disk.Options
		want error
	}{
		{[]string{"-b", "base.raw", "-F", "raw"}, disk.Options{}, disk.ErrBacking},
		{[]string{"-b", "base.raw", "-F", "raw"}, allow, nil},
		{[]string{"-b", "base.raw", "-F", "qcow2", "-u"}, allow, disk.ErrFormat},
		{[]string{"-b", "base.raw", "-F", "vmdk", "-u"}, allow, disk.ErrBacking},
		{[]string{"-b", outside, "-F", "raw"}, allow, disk.ErrBacking},
		{[]string{"-b", outside, "-F", "raw"}, disk.Options{BackingDirs: []string{elsewhere}}, nil},
		{[]string{"-b", "link.raw", "-F", "raw"}, allow, disk.ErrBacking},
		{[]string{"-b", "../" + filepath.Base(elsewhere) + "/secret.raw", "-F", "raw", "-u"}, allow, disk.ErrBacking},
		{[]string{"-b", "nbd://host/x", "-F", "raw", "-u"}, allow, disk.ErrBacking},
		{[]string{"-b", "none.raw", "-F", "raw", "-u"}, allow, os.ErrNotExist},
	} {
		path := filepath.Join(dir, fmt.Sprintf("o%d.qcow2", i))
		qemu(t, "qemu-img", append([]string{"create", "-q", "-f", "qcow2"}, append(c.args, path, "1M")...)...)
		d, err := disk.Open(path, c.o)
		if !errors.Is(err, c.want) {
			t.Errorf("%q with %+v: %v, want %v", c.args, c.o, err, c.want)
		}
		if err == nil {
			shut(t, d)
		}
	}
}

func TestChainsEnd(t *testing.T) {
	dir := t.TempDir()
	at := func(i int) string { return filepath.Join(dir, fmt.Sprintf("%d.qcow2", i)) }
	if err := disk.Create(at(0), mib, disk.Qcow2, disk.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 16; i++ {
		if err := disk.CreateOverlay(at(i), at(i-1), disk.OverlayOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	d := open(t, at(15), disk.Options{AllowBacking: true}) // 16 images
	write(t, d, []byte{1}, 0)
	shut(t, d)
	if _, err := disk.Open(at(16), disk.Options{AllowBacking: true}); !errors.Is(err, disk.ErrBacking) {
		t.Errorf("a chain of 17: %v", err)
	}
	qemu(t, "qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", at(2), at(0))
	if _, err := disk.Open(at(2), disk.Options{AllowBacking: true}); !errors.Is(err, disk.ErrBacking) || !strings.Contains(err.Error(), "own backing") {
		t.Errorf("a loop: %v", err)
	}
}

func TestCreateLeavesNothingBehind(t *testing.T) {
	path := temp(t, "a.qcow2")
	for _, o := range []disk.CreateOptions{{ClusterSize: 1000}, {RefcountBits: 3}, {Version: 4}, {Version: 2, RefcountBits: 1}, {ClusterSize: 4 * mib}} {
		if err := disk.Create(path, mib, disk.Qcow2, o); err == nil {
			t.Errorf("%+v was taken", o)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%+v left a file: %v", o, err)
		}
	}
	if err := disk.Create(path, 1<<50, disk.Qcow2, disk.CreateOptions{ClusterSize: 512}); err == nil {
		t.Error("1 PiB in clusters of 512 bytes was taken")
	}
	if err := disk.Create(path, -1, disk.Raw, disk.CreateOptions{}); !errors.Is(err, disk.ErrRange) {
		t.Errorf("a raw image of -1 bytes: %v", err)
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := disk.Create(path, mib, disk.Qcow2, disk.CreateOptions{}); !errors.Is(err, os.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	if got, err := os.ReadFile(path); string(got) != "mine" {
		t.Errorf("the file that was there is %q, %v", got, err)
	}
}

func TestResizeOfAClosedImage(t *testing.T) {
	for _, format := range []disk.Format{disk.Raw, disk.Qcow2} {
		path := temp(t, "a."+string(format))
		if err := disk.Create(path, mib, format, disk.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := disk.Resize(path, 300*1024*mib, disk.Options{}); err != nil {
			t.Fatal(err)
		}
		if info, err := disk.Info(path, ""); err != nil || info.VirtualSize != 300*1024*mib || info.DiskSize > mib {
			t.Errorf("%+v, %v", info, err)
		}
		if err := disk.Resize(path, mib, disk.Options{}); !errors.Is(err, disk.ErrShrink) {
			t.Errorf("shrink: %v", err)
		}
	}
}
