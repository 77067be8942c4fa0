package disk_test

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gureum/gureum/guest/disk"
)

// qemu runs one of QEMU's tools on images, and gives its output if it succeeds.
func qemu(t testing.TB, tool string, args ...string) string {
	t.Helper()
	out, err := exec.Command(tool, args...).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("verification failed")) {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, out)
	}
	return string(out)
}

func open(t testing.TB, path string, o disk.Options) disk.Disk {
	t.Helper()
	d, err := disk.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func shut(t testing.TB, d disk.Disk) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, d disk.Disk, p []byte, off int64) {
	t.Helper()
	if n, err := d.WriteAt(p, off); err != nil || n != len(p) {
		t.Fatalf("write of %d at %d: %d, %v", len(p), off, n, err)
	}
}

func contents(t testing.TB, d disk.Disk) []byte {
	t.Helper()
	p := make([]byte, d.Size())
	if n, err := d.ReadAt(p, 0); err != nil || n != len(p) {
		t.Fatalf("read: %d, %v", n, err)
	}
	return p
}

func temp(t testing.TB, name string) string { return filepath.Join(t.TempDir(), name) }

// text is data that compresses, and differs from place to place.
func text(n int, seed byte) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i>>9) ^ seed
		if i%97 == 0 {
			p[i] = byte(i * 31)
		}
	}
	return p
}

// holdByQemu runs f while qemu-io has the image open.
func holdByQemu(t *testing.T, flags, path string, f func()) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "exec qemu-io "+flags+" "+path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Its prompt says that the image is open.
	if _, err := out.Read(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	f()
	if _, err := in.Write([]byte("quit\n")); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}
