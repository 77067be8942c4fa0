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
// kvm:kvm_entry, and when its thread had begun the ioctl KVM_RUN that led there, by
// kvm:kvm_fpu, which that begins with: the VMM has then done all that it does before its guest
// runs. Events of the system call would tell the same of every VMM's threads, but make all
// system calls of the host slower. The first entry stops the tracing, so that a run is hardly
// disturbed. It has a trace buffer of its own (Documentation/trace/ftrace.rst, Instances).
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
		{"events/kvm/kvm_fpu/enable", "1"},
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

// eventLine is "qemu-system-x86-123  [000] d..1.   12.345678: kvm_entry: vcpu 0, ...".
var eventLine = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^[^#\n]*-([0-9]+) +\[[0-9]+\] [^:\n]* ([0-9]+)\.([0-9]{6}): (kvm_entry:|kvm_fpu: load)`)
})

// follow runs something that starts a process on this thread, and adds when that process
// was ready to enter a guest, and when it first did.
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
	began := time.Duration(start.Nano())
	ready, entry, ok := parseEntry(string(text))
	if !ok {
		return result, nil
	}
	result[FigureEntry] = entry - began
	if ready > 0 {
		result[FigureReady] = ready - began
	}
	return result, nil
}

// parseEntry finds the monotonic time of the first entry of a guest, and when its thread had
// begun to run the vCPU, which is 0 if the trace does not have it.
func parseEntry(trace string) (ready, entry time.Duration, ok bool) {
	began := map[string]time.Duration{} // by thread
	for _, event := range eventLine().FindAllStringSubmatch(trace, -1) {
		thread := event[1]
		seconds, err1 := strconv.ParseInt(event[2], 10, 64)
		micro, err2 := strconv.ParseInt(event[3], 10, 64)
		if err1 != nil || err2 != nil {
			return 0, 0, false
		}
		at := time.Duration(seconds)*time.Second + time.Duration(micro)*time.Microsecond
		if event[4] == "kvm_entry:" {
			return began[thread], at, true
		}
		began[thread] = at
	}
	return 0, 0, false
}
