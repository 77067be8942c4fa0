package lab

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// Terminal is the user's terminal while a command in L1 has it.
type Terminal struct {
	in, out *os.File
	before  *term.State
}

// FindTerminal returns the terminal when both streams are one, else nil.
func FindTerminal(stdin io.Reader, stdout io.Writer) *Terminal {
	in, ok := stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return nil
	}
	out, ok := stdout.(*os.File)
	if !ok || !term.IsTerminal(int(out.Fd())) {
		return nil
	}
	return &Terminal{in: in, out: out}
}

// size is the window's, 0 by 0 when it has none.
func (t *Terminal) size() (rows, cols uint16) {
	w, h, err := term.GetSize(int(t.out.Fd()))
	if err != nil {
		return 0, 0
	}
	return uint16(h), uint16(w)
}

// raw hands each key over as it is pressed.
func (t *Terminal) raw() error {
	before, err := term.MakeRaw(int(t.in.Fd()))
	if err != nil {
		return fmt.Errorf("set the terminal to raw mode: %w", err)
	}
	t.before = before
	return nil
}

// restore undoes raw.
func (t *Terminal) restore() {
	if t.before != nil {
		_ = term.Restore(int(t.in.Fd()), t.before)
		t.before = nil
	}
}
