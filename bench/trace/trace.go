// Package trace records trace events of the host's kernel in a buffer of its own, so that other
// users of the kernel's tracing are not disturbed (Documentation/trace/ftrace.rst, Instances).
// It takes root and tracefs.
package trace

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const tracefs = "/sys/kernel/tracing"

// Setting is a file of the buffer's folder, and what to write to it.
type Setting struct{ File, Value string }

// Buffer is a buffer for trace events.
type Buffer struct{ dir string }

var buffers atomic.Int64

// New makes a buffer with some settings, which records nothing yet.
func New(settings ...Setting) (*Buffer, error) {
	b := &Buffer{filepath.Join(tracefs, "instances", fmt.Sprintf("gureum-bench-%d-%d", os.Getpid(), buffers.Add(1)))}
	if err := os.Mkdir(b.dir, 0o700); err != nil {
		return nil, err
	}
	// Children of a thread that is followed are followed, too.
	for _, s := range append([]Setting{{"tracing_on", "0"}, {"options/event-fork", "1"}}, settings...) {
		if err := b.set(s.File, s.Value); err != nil {
			return nil, errors.Join(err, b.Close())
		}
	}
	return b, nil
}

// Close removes the buffer.
func (b *Buffer) Close() error { return os.Remove(b.dir) }

func (b *Buffer) set(file, value string) error {
	return os.WriteFile(filepath.Join(b.dir, file), []byte(value), 0)
}

// Follow runs something that starts a process on this thread, and gives what was recorded of
// that until it returned, in the text of the file trace.
func (b *Buffer) Follow(run func() error) (string, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := b.set("set_event_pid", strconv.Itoa(unix.Gettid())); err != nil {
		return "", err
	}
	defer func() { _ = b.set("set_event_pid", "") }()
	return b.Record(run)
}

// Record is Follow for all processes, and the kernel's own threads.
func (b *Buffer) Record(run func() error) (string, error) {
	if err := errors.Join(b.set("trace", ""), b.set("tracing_on", "1")); err != nil {
		return "", err
	}
	if err := errors.Join(run(), b.set("tracing_on", "0")); err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(b.dir, "trace"))
	return string(text), err
}
