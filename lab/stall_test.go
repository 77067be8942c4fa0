package lab

import (
	"io"
	"testing"
	"time"
)

func TestQuiet(t *testing.T) {
	const verbose = "=== RUN   TestA\n--- PASS: TestA (0.00s)\n=== RUN   TestB\n    b_test.go:3: wrong\n" +
		"    --- PASS: TestB/x (0.00s)\n--- FAIL: TestB (0.00s)\nFAIL\n"
	const want = "    b_test.go:3: wrong\n--- FAIL: TestB (0.00s)\nFAIL\n"
	if got := quiet(verbose); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPulseRestartsTheTimer(t *testing.T) {
	fired := make(chan struct{})
	timer := time.AfterFunc(time.Hour, func() { close(fired) })
	timer.Reset(time.Millisecond)
	<-fired
	if _, err := (&pulse{w: io.Discard, timer: timer}).Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if !timer.Stop() {
		t.Error("a write did not start the timer again")
	}
}
