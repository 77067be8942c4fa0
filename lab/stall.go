package lab

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"
)

// An emulated host that runs guests breaks now and then, most of all one with
// several CPUs: it panics, or one CPU misses an interrupt and whatever waits for
// it waits for ever. The suite tells the latter by tests that neither begin nor
// end for a long time: a dozen guests on a busy machine take ten minutes. Either way it runs the package again on a new host; a test
// that breaks its host by itself does so each time and fails.
const (
	stallTime   = 15 * time.Minute
	maxAttempts = 3
)

var errStalled = errors.New("no test began or ended for " + stallTime.String() + ": L1 seems to have stalled")

// hostBroke says whether a run failed by its host, not by its tests.
func hostBroke(err error) bool {
	var host *HostError
	return errors.Is(err, errStalled) || errors.As(err, &host)
}

// watch is run, ended with errStalled when the tests print nothing for stallTime.
func (r *suiteRun) watch(ctx context.Context, p testPackage, w io.Writer) (int, error) {
	if r.Direct {
		return r.run(ctx, p, w)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(stallTime, func() { cancel(errStalled) })
	defer timer.Stop()
	status, err := r.run(ctx, p, &pulse{w: w, timer: timer})
	if errors.Is(context.Cause(ctx), errStalled) {
		return status, errStalled
	}
	return status, err
}

// pulse restarts a timer at each write.
type pulse struct {
	w     io.Writer
	timer *time.Timer
}

// Write implements io.Writer.
func (p *pulse) Write(b []byte) (int, error) {
	p.timer.Reset(stallTime)
	return p.w.Write(b)
}

// quiet takes out of what tests print with -v what they do not print without.
func quiet(out string) string {
	var b strings.Builder
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(strings.TrimLeft(line, " "), "--- PASS: ") {
			b.WriteString(line)
		}
	}
	return b.String()
}
