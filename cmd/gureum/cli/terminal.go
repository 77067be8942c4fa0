package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// escapeKey starts an escape sequence on an interactive console: Ctrl-].
const escapeKey = 0x1d

const escapeHelp = "\r\ngureum: Ctrl-] q stops the machine, Ctrl-] p presses its power button, " +
	"Ctrl-] Ctrl-] sends Ctrl-]\r\n"

// terminal is the user's terminal while a machine has it.
type terminal struct {
	in       *os.File
	saved    *term.State
	guard    *terminalGuard
	resizes  chan os.Signal
	finished chan struct{}
}

// isTerminal tells whether both ends of a session are terminals.
func isTerminal(s Streams) bool {
	out, ok := s.Out.(*os.File)
	return ok && s.In != nil && term.IsTerminal(int(s.In.Fd())) && term.IsTerminal(int(out.Fd()))
}

// openTerminal puts the terminal into raw mode. Close restores it; if this
// process dies before, the guard does. resized is called with the new size
// whenever the window changes.
func openTerminal(in *os.File, resized func(rows, cols uint16)) (*terminal, error) {
	guard, err := startTerminalGuard(in)
	if err != nil {
		return nil, err
	}
	saved, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, errors.Join(err, guard.release())
	}
	t := &terminal{in: in, saved: saved, guard: guard, resizes: make(chan os.Signal, 1), finished: make(chan struct{})}
	signal.Notify(t.resizes, unix.SIGWINCH)
	go func() {
		defer close(t.finished)
		for range t.resizes {
			resized(windowSize(in))
		}
	}()
	return t, nil
}

// Close gives the terminal back as it was.
func (t *terminal) Close() error {
	signal.Stop(t.resizes)
	close(t.resizes)
	<-t.finished
	return errors.Join(term.Restore(int(t.in.Fd()), t.saved), t.guard.release())
}

// windowSize is the terminal's size in characters, or 24 by 80 where it tells
// none.
func windowSize(f *os.File) (rows, cols uint16) {
	w, h, err := term.GetSize(int(f.Fd()))
	if err != nil || w <= 0 || h <= 0 {
		return 24, 80
	}
	return uint16(h), uint16(w)
}

// escapeReader passes keys on and acts on escape sequences.
type escapeReader struct {
	in     io.Reader
	help   io.Writer // where text goes when a key is none of keys
	text   string
	keys   string
	escape func(key byte)
	armed  bool
}

// Read implements io.Reader.
func (r *escapeReader) Read(p []byte) (int, error) {
	for {
		n, err := r.in.Read(p)
		kept := r.filter(p[:n])
		if kept > 0 || err != nil || len(p) == 0 {
			return kept, err
		}
	}
}

// filter takes the escape sequences out of keys, in place, and returns how many
// bytes are left.
func (r *escapeReader) filter(keys []byte) int {
	if !r.armed && bytes.IndexByte(keys, escapeKey) < 0 {
		return len(keys)
	}
	kept := keys[:0]
	for _, k := range keys {
		switch {
		case !r.armed && k == escapeKey:
			r.armed = true
			continue
		case !r.armed:
			kept = append(kept, k)
			continue
		}
		r.armed = false
		switch {
		case k == escapeKey:
			kept = append(kept, k)
		case strings.IndexByte(r.keys, k) >= 0:
			r.escape(k)
		default:
			_, _ = io.WriteString(r.help, r.text)
		}
	}
	return len(kept)
}
