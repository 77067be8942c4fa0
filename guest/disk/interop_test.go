package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gureum/gureum/guest/disk"
)

const mib = 1 << 20

// kinds are images as qemu-img makes them.
var kinds = []string{
	"cluster_size=512",
	"cluster_size=512,refcount_bits=1",
	"cluster_size=4096,refcount_bits=64",
	"cluster_size=65536",
	"cluster_size=65536,compat=0.10",
	"cluster_size=65536,lazy_refcounts=on",
	"cluster_size=65536,compression_type=zstd",
	"cluster_size=2M,refcount_bits=8",
	"cluster_size=65536,preallocation=metadata",
}

func TestWeReadAndWriteWhatQemuMade(t *testing.T) {
	for _, options := range kinds {
		t.Run(options, func(t *testing.T) {
			dir := t.TempDir()
			plain, image := filepath.Join(dir, "plain.raw"), filepath.Join(dir, "image.qcow2")
			want := text(2*mib+4608, 3)
			clear(want[mib : mib+mib/2])
			if err := os.WriteFile(plain, want, 0o600); err != nil {
				t.Fatal(err)
			}
			qemu(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", options, plain, image)
			workOn(t, image, plain, want, disk.Options{})
			if strings.Contains(options, "preallocation") {
				return
			}
			// The same compressed: writing takes clusters out of the compressed ones.
			if err := os.WriteFile(plain, want, 0o600); err != nil {
				t.Fatal(err)
			}
			qemu(t, "qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, plain, image)
			workOn(t, image, plain, want, disk.Options{Direct: true})
		})
	}
}

// workOn compares an image of qemu-img's with what is in it, works on both, and has QEMU
// check and compare them.
func workOn(t *testing.T, image, plain string, want []byte, o disk.Options) {
	t.Helper()
	d := open(t, image, o)
	got := contents(t, d)
	if !bytes.Equal(got[:len(want)], want) {
		t.Fatal("the image reads otherwise than the file it was made of")
	}
	rnd := rand.New(rand.NewPCG(5, 5))
	for i := range 60 {
		off := rnd.IntN(len(want))
		n := min(len(want)-off, 1+rnd.IntN(200_000))
		switch i % 5 {
		case 0:
			if err := d.WriteZeroes(int64(off), int64(n), i%2 == 0); err != nil {
				t.Fatal(err)
			}
			clear(want[off : off+n])
		case 1:
			if err := d.Discard(int64(off), int64(n)); err != nil {
				t.Fatal(err)
			}
			if _, err := d.ReadAt(want[off:off+n], int64(off)); err != nil {
				t.Fatal(err)
			}
		default:
			copy(want[off:], text(n, byte(i)))
			write(t, d, want[off:off+n], int64(off))
		}
	}
	shut(t, d)
	if err := os.WriteFile(plain, want, 0o600); err != nil {
		t.Fatal(err)
	}
	qemu(t, "qemu-img", "check", "-f", "qcow2", image)
	qemu(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", plain, image)
	report, err := disk.Check(image, disk.Qcow2)
	if err != nil || report.Errors > 0 || report.Leaks > 0 {
		t.Errorf("our check: %+v, %v", report, err)
	}
}

// TestWhatIsNotBuiltIsRefused opens images with features that nothing here knows.
func TestWhatIsNotBuiltIsRefused(t *testing.T) {
	dir := t.TempDir()
	for options, says := range map[string]string{
		"extended_l2=on": "extended L2",
		"data_file=" + filepath.Join(dir, "data"): "external data file",
		"encrypt.format=aes,encrypt.key-secret=s": "encryption",
	} {
		image := filepath.Join(dir, "a.qcow2")
		qemu(t, "qemu-img", "create", "-q", "--object", "secret,id=s,data=geheim", "-f", "qcow2", "-o", options, image, "1M")
		for _, readOnly := range []bool{true, false} {
			_, err := disk.Open(image, disk.Options{ReadOnly: readOnly})
			if !errors.Is(err, disk.ErrUnsupported) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), image) {
				t.Errorf("%s: %v", options, err)
			}
		}
	}
}

func TestQemuReadsAndWritesWhatWeMade(t *testing.T) {
	for _, o := range []disk.CreateOptions{
		{},
		{ClusterSize: 512, RefcountBits: 1},
		{ClusterSize: 512, RefcountBits: 64},
		{ClusterSize: 2 * mib, RefcountBits: 2},
		{Version: 2, ClusterSize: 4096},
	} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			image := temp(t, "a.qcow2")
			if err := disk.Create(image, 8*mib, disk.Qcow2, o); err != nil {
				t.Fatal(err)
			}
			qemu(t, "qemu-img", "check", image)
			qemu(t, "qemu-io", "-f", "qcow2", "-c", "write -P 7 0 2M", "-c", "write -P 8 4M 1M", "-c", "write -z 1M 64k", image)
			d := open(t, image, disk.Options{})
			want := make([]byte, 8*mib)
			copy(want, bytes.Repeat([]byte{7}, 2*mib))
			copy(want[4*mib:], bytes.Repeat([]byte{8}, mib))
			clear(want[mib : mib+64<<10])
			if !bytes.Equal(contents(t, d), want) {
				t.Fatal("what qemu-io wrote reads otherwise")
			}
			write(t, d, bytes.Repeat([]byte{9}, mib), 6*mib)
			if err := d.Resize(20 * mib); err != nil {
				t.Fatal(err)
			}
			write(t, d, []byte("end"), 20*mib-3)
			shut(t, d)
			qemu(t, "qemu-img", "check", image)
			qemu(t, "qemu-io", "-f", "qcow2", "-c", "read -P 9 6M 1M", "-c", "read -P 0 8M 11M", "-c", "read -P 7 0 1M", image)
		})
	}
}

func TestADirtyImageIsRepaired(t *testing.T) {
	image := temp(t, "a.qcow2")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on,cluster_size=4096", image, "8M")
	// A killed qemu-io leaves counts unwritten.
	qemu(t, "sh", "-c", "qemu-io -f qcow2 -c 'write -P 5 0 6M' -c flush -c abort "+image+" || true")
	info, err := disk.Info(image, "")
	if err != nil || !info.Dirty {
		t.Fatalf("%+v, %v: QEMU did not leave it dirty", info, err)
	}
	if report, err := disk.Check(image, ""); err != nil || report.Errors == 0 {
		t.Errorf("check of a dirty image: %+v, %v", report, err)
	}
	d := open(t, image, disk.Options{})
	write(t, d, []byte{1}, 7*mib)
	shut(t, d)
	if info, err := disk.Info(image, ""); err != nil || info.Dirty {
		t.Errorf("%+v, %v", info, err)
	}
	qemu(t, "qemu-img", "check", image)
	qemu(t, "qemu-io", "-f", "qcow2", "-c", "read -P 5 0 6M", "-c", "read -P 1 7M 1", image)
}

func TestBitmapsEndBeingValid(t *testing.T) {
	image := temp(t, "a.qcow2")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", image, "8M")
	qemu(t, "qemu-img", "bitmap", "--add", image, "b0")
	qemu(t, "qemu-io", "-f", "qcow2", "-c", "write 0 1M", image)
	if report, err := disk.Check(image, ""); err != nil || report.Errors > 0 || report.Leaks > 0 {
		t.Errorf("check with a bitmap: %+v, %v", report, err)
	}
	d := open(t, image, disk.Options{})
	write(t, d, []byte{1}, 7*mib)
	shut(t, d)
	if out := qemu(t, "qemu-img", "info", image); strings.Contains(out, "b0") && !strings.Contains(out, "corrupt: false") {
		t.Error(out)
	}
	// To QEMU the bitmap is no longer there, so its clusters are lost space at the worst.
	qemu(t, "sh", "-c", "qemu-img check "+image+" || [ $? = 3 ]")
}

func TestSpaceIsFreedInQcow2(t *testing.T) {
	image := temp(t, "a.qcow2")
	if err := disk.Create(image, 64*mib, disk.Qcow2, disk.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	d := open(t, image, disk.Options{})
	write(t, d, text(32*mib, 1), 0)
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := d.Discard(0, 16*mib); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteZeroes(16*mib, 8*mib, true); err != nil {
		t.Fatal(err)
	}
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	info, err := disk.Info(image, "")
	if err != nil || info.DiskSize > 10*mib {
		t.Errorf("%d bytes on the host after 24 of 32 MiB were freed, %v", info.DiskSize, err)
	}
	// The freed clusters are used again, so the file does not grow.
	write(t, d, text(24*mib, 2), 40*mib)
	shut(t, d)
	st, err := os.Stat(image)
	if err != nil || st.Size() > 34*mib {
		t.Errorf("the file has %d bytes, %v", st.Size(), err)
	}
	qemu(t, "qemu-img", "check", image)
}
