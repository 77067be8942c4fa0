package fleet

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/gureum/gureum/fleet/state"
)

// LogOptions say what of a machine's logs to give.
type LogOptions struct {
	// Console is for the guest's console; else the output of the machine's command,
	// if it has one.
	Console bool
	// Tail is how many of the last lines to give; negative for all.
	Tail int
	// Follow goes on until the machine has ended, or ctx does.
	Follow bool
}

// pollLogs is how often a log is looked at.
const pollLogs = 100 * time.Millisecond

// Logs copies what a machine wrote.
func (f *Fleet) Logs(ctx context.Context, ref string, o LogOptions, w io.Writer) error {
	record, err := f.Dirs.FindVM(ref)
	if err != nil {
		return err
	}
	path := f.Dirs.ConsoleLog(record.ID)
	if !o.Console && len(record.Spec.Command) > 0 {
		path = f.Dirs.OutputLog(record.ID)
	}
	at, err := copyTail(path, o.Tail, w)
	for err == nil && o.Follow {
		ended := f.over(record.ID) // asked first: what it wrote at its end is copied
		if at, err = state.FollowLog(path, w, at); err != nil || ended {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pollLogs):
		}
	}
	return err
}

// over tells whether a machine is not there any more, or has ended and is not about to be
// started again.
func (f *Fleet) over(id string) bool {
	m, err := f.Get(id)
	return err != nil || !alive(m.Status) && !m.startsAgain()
}

// copyTail copies the last lines of a log, or all of it.
func copyTail(path string, lines int, w io.Writer) (state.LogPosition, error) {
	if lines < 0 {
		return state.ReadLog(path, w)
	}
	var all bytes.Buffer // a log is bounded
	at, err := state.ReadLog(path, &all)
	if err == nil {
		_, err = w.Write(lastLines(all.Bytes(), lines))
	}
	return at, err
}

// lastLines is the end of a text.
func lastLines(text []byte, n int) []byte {
	at := len(bytes.TrimSuffix(text, []byte("\n")))
	for ; n > 0 && at >= 0; n-- {
		at = bytes.LastIndexByte(text[:at], '\n')
	}
	if n == 0 && at >= 0 {
		return text[min(at+1, len(text)):]
	}
	return text
}

// Printable takes out of a guest's text what would do something to a terminal.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return -1
	}, text)
}

// consoleLines and consoleWidth bound what an error shows of a console.
const (
	consoleLines = 12
	consoleWidth = 200
)

// NotUp adds to an error about a guest that is not up how far it came, and the last
// lines of its console.
func (f *Fleet) NotUp(id string, err error) error {
	var console bytes.Buffer
	if _, fault := copyTail(f.Dirs.ConsoleLog(id), -1, &console); fault != nil {
		return err
	}
	status, fault := f.Dirs.Status(id)
	if fault != nil {
		return err
	}
	stage := stageOf(status.Stage, console.Bytes())
	text := "\nstage reached: " + stage
	if tail := consoleTail(console.Bytes()); tail != "" {
		text += "\nlast lines of its console:\n" + tail
	} else {
		text += "\nits console is empty"
	}
	return fmt.Errorf("%w%s", err, text)
}

func consoleTail(text []byte) string {
	tail := strings.TrimSpace(Printable(string(lastLines(bytes.TrimSpace(text), consoleLines))))
	if tail == "" {
		return ""
	}
	var out []string
	for line := range strings.SplitSeq(tail, "\n") {
		line = strings.TrimRight(line, " \t")
		if r := []rune(line); len(r) > consoleWidth {
			line = string(r[:consoleWidth]) + "..."
		}
		out = append(out, "  "+line)
	}
	return strings.Join(out, "\n")
}

// stageOf is how far a guest came, by what is known of it for certain and by what it
// wrote on its console, which is its own word.
func stageOf(known state.Stage, console []byte) string {
	if known == state.StageAgent {
		return string(known)
	}
	for _, s := range []struct{ stage, sign string }{
		{"cloud-init", "Cloud-init v."},
		{"network", "Reached target network.target"},
		{"network", "Reached target \x1b[0;1;39mnetwork.target"},
		{"init", "systemd[1]: "},
		{"init", "Run /init as init process"},
		{"init", "Run /sbin/init as init process"},
	} {
		if bytes.Contains(console, []byte(s.sign)) {
			return s.stage + " (by its console)"
		}
	}
	if known == "" {
		return "none: its virtual CPUs were not started"
	}
	return string(known)
}
