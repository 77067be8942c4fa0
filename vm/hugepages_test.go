package vm

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWithoutHugePages: a process that is started so has none, and this one has them as before.
func TestWithoutHugePages(t *testing.T) {
	var out strings.Builder
	cmd := exec.Command("grep", "THP_enabled", "/proc/self/status")
	cmd.Stdout = &out
	if err := WithoutHugePages(cmd.Start); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || strings.Fields(out.String())[1] != "0" {
		t.Errorf("%v: the process says %q", err, out.String())
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil || !strings.Contains(string(status), "THP_enabled:\t1") {
		t.Errorf("%v: this process says\n%s", err, status)
	}
}

func TestOwnPagesSmall(t *testing.T) {
	b, err := unix.Mmap(-1, 0, 4<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(b) }()
	if err := ownPagesSmall(); err != nil {
		t.Fatal(err)
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err == nil && !strings.Contains(string(smaps), " nh") {
		t.Error("no mapping has the advice")
	}
	for i := range b {
		b[i] = 1 // it can be used as before
	}
}
