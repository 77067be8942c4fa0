package vcpu

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// The first goroutine, that of TestMain, stays on the first thread.
func init() { runtime.LockOSThread() }

// triedOn are the threads that offFirstThread was called on, and called f on.
var triedOn [2]int

func TestMain(m *testing.M) {
	triedOn[0] = unix.Gettid()
	offFirstThread(func() { triedOn[1] = unix.Gettid() })
	os.Exit(m.Run())
}

func TestOffFirstThread(t *testing.T) {
	if first := unix.Getpid(); triedOn[0] != first || triedOn[1] == first || triedOn[1] == 0 {
		t.Errorf("from the first thread, %d: called on %d, ran on %d", first, triedOn[0], triedOn[1])
	}
	ran := make(chan [2]int)
	go func() {
		runtime.LockOSThread()
		caller := unix.Gettid()
		offFirstThread(func() { ran <- [2]int{caller, unix.Gettid()} })
	}()
	if got := <-ran; got[0] != got[1] {
		t.Errorf("from thread %d it ran on %d", got[0], got[1])
	}
}
