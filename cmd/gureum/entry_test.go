package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestEntry looks at programs that wait for a file: one that will be a VMM has no huge pages
// until it makes its machine, and any other has what the host gives.
func TestEntry(t *testing.T) {
	program := filepath.Join(t.TempDir(), "gureum")
	build := exec.Command("go", "build", "-ldflags", "-E main.entry", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	disk := filepath.Join(t.TempDir(), "disk")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	own := hugePages(t, os.Getpid()) // "" on a host without
	for _, tt := range []struct {
		args  []string
		small bool
	}{
		{[]string{"run", "--disk", disk, "--password-file", pipe}, true},
		{[]string{"up", "-f", pipe}, false},
	} {
		cmd := exec.Command(program, tt.args...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		awaitReader(t, pipe)
		want := own
		if tt.small && own != "" {
			want = "0"
		}
		if got := hugePages(t, cmd.Process.Pid); got != want {
			t.Errorf("%v: huge pages %q, want %q", tt.args, got, want)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// awaitReader returns when somebody reads the pipe, who goes on once the test has ended.
func awaitReader(t *testing.T, pipe string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		fd, err := unix.Open(pipe, unix.O_WRONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			t.Cleanup(func() { _ = unix.Close(fd) })
			return
		}
		if err != unix.ENXIO || time.Now().After(deadline) {
			t.Fatalf("nobody reads: %v", err)
		}
	}
}

var thpLine = regexp.MustCompile(`(?m)^THP_enabled:\s*(\d)`)

func hugePages(t *testing.T, pid int) string {
	t.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	if m := thpLine.FindSubmatch(status); m != nil {
		return string(m[1])
	}
	return ""
}
