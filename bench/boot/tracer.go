package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// tracer finds when a vCPU of a process first enters its guest, by the kernel's trace event
// kvm:kvm_entry. The first such event stops the tracing, so that a run is hardly disturbed. It
// has a trace buffer of its own (Documentation/trace/ftrace.rst, Instances).
type tracer struct{ dir string }

const tracefs = "/sys/kernel/tracing"

func newTracer() (*tracer, error) {
	t := &tracer{filepath.Join(tracefs, "instances", fmt.Sprintf("gureum-bench-%d", os.Getpid()))}
	if err := os.Mkdir(t.dir, 0o700); err != nil {
		return nil, err
	}
	for _, set := range [][2]string{
		{"tracing_on", "0"},
		{"trace_clock", "mono"},
		{"options/event-fork", "1"}, // children of a thread that is followed are, too
		{"events/kvm/kvm_entry/trigger", "traceoff"},
		{"events/kvm/kvm_entry/enable", "1"},
	} {
		if err := t.set(set[0], set[1]); err != nil {
			return nil, errors.Join(err, t.close())
		}
	}
	return t, nil
}

func (t *tracer) set(name, value string) error {
	return os.WriteFile(filepath.Join(t.dir, name), []byte(value), 0)
}

func (t *tracer) close() error { return os.Remove(t.dir) }

// entryLine is "qemu-system-x86-123  [000] d..1.   12.345678: kvm_entry: vcpu 0, ...".
var entryLine = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?m)^[^#\n]* ([0-9]+)\.([0-9]{6}): kvm_entry:`) })

// follow runs something that starts a process on this thread, and adds when that process
// first entered a guest.
func (t *tracer) follow(run func(started func(time.Time)) (times, error)) (times, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := errors.Join(t.set("trace", ""), t.set("set_event_pid", strconv.Itoa(unix.Gettid())), t.set("tracing_on", "1")); err != nil {
		return nil, err
	}
	defer func() { _ = t.set("set_event_pid", "") }()
	var start unix.Timespec
	var failed error
	result, err := run(func(time.Time) { failed = unix.ClockGettime(unix.CLOCK_MONOTONIC, &start) })
	if err = errors.Join(err, failed, t.set("tracing_on", "0")); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(t.dir, "trace"))
	if err != nil {
		return nil, err
	}
	if at, ok := parseEntry(string(text)); ok {
		result[FigureEntry] = at - time.Duration(start.Nano())
	}
	return result, nil
}

// parseEntry is the monotonic time of the first event.
func parseEntry(trace string) (time.Duration, bool) {
	found := entryLine().FindStringSubmatch(trace)
	if found == nil {
		return 0, false
	}
	seconds, err1 := strconv.ParseInt(found[1], 10, 64)
	micro, err2 := strconv.ParseInt(found[2], 10, 64)
	return time.Duration(seconds)*time.Second + time.Duration(micro)*time.Microsecond, errors.Join(err1, err2) == nil
}
