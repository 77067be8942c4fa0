package boot

import (
	"errors"
	"regexp"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/bench/trace"
)

// tracer finds when a vCPU of a process first enters its guest, by the kernel's trace event
// kvm:kvm_entry, and when its thread had begun the ioctl KVM_RUN that led there, by
// kvm:kvm_fpu, which that begins with: the VMM has then done all that it does before its guest
// runs. Events of the system call would tell the same of every VMM's threads, but make all
// system calls of the host slower. The first entry stops the tracing, so that a run is hardly
// disturbed.
type tracer struct{ *trace.Buffer }

func newTracer() (*tracer, error) {
	b, err := trace.New(
		trace.Setting{File: "trace_clock", Value: "mono"},
		trace.Setting{File: "events/kvm/kvm_entry/trigger", Value: "traceoff"},
		trace.Setting{File: "events/kvm/kvm_fpu/enable", Value: "1"},
		trace.Setting{File: "events/kvm/kvm_entry/enable", Value: "1"},
	)
	if err != nil {
		return nil, err
	}
	return &tracer{b}, nil
}

// eventLine is "qemu-system-x86-123  [000] d..1.   12.345678: kvm_entry: vcpu 0, ...".
var eventLine = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^[^#\n]*-([0-9]+) +\[[0-9]+\] [^:\n]* ([0-9]+)\.([0-9]{6}): (kvm_entry:|kvm_fpu: load)`)
})

// follow runs something that starts a process on this thread, and adds when that process
// was ready to enter a guest, and when it first did.
func (t *tracer) follow(run func(started func(time.Time)) (times, error)) (times, error) {
	var start unix.Timespec
	var result times
	text, err := t.Follow(func() (err error) {
		var failed error
		result, err = run(func(time.Time) { failed = unix.ClockGettime(unix.CLOCK_MONOTONIC, &start) })
		return errors.Join(err, failed)
	})
	if err != nil {
		return nil, err
	}
	began := time.Duration(start.Nano())
	ready, entry, ok := parseEntry(text)
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
