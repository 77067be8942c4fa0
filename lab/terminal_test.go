package lab

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// testTerminal is a terminal with this test at its keyboard.
type testTerminal struct {
	t             *testing.T
	master, slave *os.File
	seen          string
}

func openTestTerminal(t *testing.T, rows, cols uint16) *testTerminal {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		master.Close()
		slave.Close()
	})
	p := &testTerminal{t: t, master: master, slave: slave}
	p.resize(rows, cols)
	return p
}

func (p *testTerminal) resize(rows, cols uint16) {
	p.t.Helper()
	if err := pty.Setsize(p.master, &pty.Winsize{Rows: rows, Cols: cols}); err != nil {
		p.t.Fatal(err)
	}
	if p.seen != "" {
		time.Sleep(500 * time.Millisecond) // for the news to reach L1
	}
}

func (p *testTerminal) write(s string) {
	p.t.Helper()
	if _, err := p.master.WriteString(s); err != nil {
		p.t.Fatal(err)
	}
}

// expect reads until the text was seen.
func (p *testTerminal) expect(text string) {
	p.t.Helper()
	buf := make([]byte, 4096)
	for end := time.Now().Add(2 * time.Minute); !strings.Contains(p.seen, text); {
		if err := p.master.SetReadDeadline(end); err != nil {
			p.t.Fatal(err)
		}
		n, err := p.master.Read(buf)
		p.seen += string(buf[:n])
		if err != nil {
			p.t.Fatalf("waiting for %q: %v; seen %q", text, err, p.seen)
		}
	}
}

// sane says whether the terminal echoes and edits lines, as before.
func (p *testTerminal) sane() bool {
	st, err := unix.IoctlGetTermios(int(p.slave.Fd()), unix.TCGETS)
	return err == nil && st.Lflag&unix.ECHO != 0 && st.Lflag&unix.ICANON != 0
}
