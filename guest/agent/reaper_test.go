package agent

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestReapAll plays PID 1 in a process of its own: a subreaper gets orphans
// just as PID 1 does.
func TestReapAll(t *testing.T) {
	if os.Getenv("AGENT_TEST_REAPER") != "" {
		reapAllHelper()
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestReapAll$")
	cmd.Env = append(os.Environ(), "AGENT_TEST_REAPER=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "all reaped") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func reapAllHelper() {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	r := NewReaper(true)
	attr := &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setsid: true}}
	// Orphans end before, while and after the commands do.
	const n = 100
	results := make(chan error, n)
	for i := range n {
		go func() {
			script := fmt.Sprintf("(sleep 0.0%d &) ; (true &) ; exit %d", i%9, i)
			_, status, err := r.Start("/bin/sh", []string{"sh", "-c", script}, attr)
			if err == nil {
				if st := <-status; st.ExitStatus() != i {
					err = fmt.Errorf("command %d: status %#x", i, st)
				}
			}
			results <- err
		}()
	}
	for range n {
		if err := <-results; err != nil {
			panic(err)
		}
	}
	for end := time.Now().Add(5 * time.Second); !r.Idle(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			panic("orphans are left")
		}
	}
	// With no child at all it must wake up for the next.
	_, status, err := r.Start("/bin/sh", []string{"sh", "-c", "exit 3"}, attr)
	if err != nil {
		panic(err)
	}
	if st := <-status; st.ExitStatus() != 3 {
		panic("wrong status after idling")
	}
	fmt.Println("all reaped")
	os.Exit(0)
}

func TestReaperStartFails(t *testing.T) {
	r := NewReaper(false)
	if _, _, err := r.Start("/no/such", []string{"x"}, &syscall.ProcAttr{}); err == nil {
		t.Error("started")
	}
	pid, status, err := r.Start("/bin/sh", []string{"sh", "-c", "exit 1"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		t.Fatal(err)
	}
	<-status
	if err := r.Signal(pid, unix.SIGTERM); !errors.Is(err, unix.ESRCH) {
		t.Errorf("signal after the end: %v", err)
	}
}
