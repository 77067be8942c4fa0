package cli

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	benchreport "github.com/gureum/gureum/bench/report"
)

// plainColumns is the width of a table that does not go to a terminal.
const plainColumns = 100

// styleOf is what can be written to w: as wide as its terminal, in the letters of the locale.
func styleOf(w io.Writer) benchreport.Style {
	style := benchreport.Style{Width: plainColumns}
	locale := strings.ToUpper(cmp.Or(os.Getenv("LC_ALL"), os.Getenv("LC_CTYPE"), os.Getenv("LANG")))
	style.ASCII = !strings.Contains(locale, "UTF-8") && !strings.Contains(locale, "UTF8")
	if width, is := terminalWidth(w); is {
		style.Width = width
		// The kernel's own terminals lack most blocks.
		kind := os.Getenv("TERM")
		style.ASCII = style.ASCII || kind == "linux" || kind == "dumb" || kind == ""
	}
	return style
}

func terminalWidth(w io.Writer) (int, bool) {
	f, is := w.(*os.File)
	if !is || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		width = 80
	}
	return width, true
}

// progress is a bar on the last line of a terminal.
type progress struct {
	w     io.Writer // nil without a terminal
	style func() benchreport.Style
	now   func() time.Time
	began time.Time
	drawn bool
}

func newProgress(s Streams) *progress {
	p := &progress{now: time.Now, began: time.Now(), style: func() benchreport.Style { return styleOf(s.Err) }}
	if _, is := terminalWidth(s.Err); is {
		p.w = s.Err
	}
	return p
}

// step shows what is being done after so much of all the work, or logs it where there is no
// terminal.
func (p *progress) step(what string, done, all int) {
	if p.w == nil {
		slog.Info("bench", "step", what, "done", done, "of", all)
		return
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", p.text(what, done, all))
	p.drawn = true
}

// end takes the bar away.
func (p *progress) end() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.drawn = false
	}
}

// text is the bar, with what fits. The time that is left goes by how long the work so far
// took; it is not told before there is something to go by.
func (p *progress) text(what string, done, all int) string {
	style := p.style()
	share := min(1, float64(done)/float64(max(all, 1)))
	const width, enough = 20, 0.02
	full, empty := "█", "░"
	if style.ASCII {
		full, empty = "#", "."
	}
	n := int(share * width)
	text := strings.Repeat(full, n) + strings.Repeat(empty, width-n) + fmt.Sprintf(" %3.0f%%", 100*share)
	if passed := p.now().Sub(p.began); share >= enough {
		text += " " + about(time.Duration(float64(passed)*(1-share)/share)) + " left"
	}
	text += "  " + what
	room := style.Width - 1 // the cursor stays on the line
	if utf8.RuneCountInString(text) <= room {
		return text
	}
	return string([]rune(text)[:max(0, room)])
}

// about rounds a time to what is known of it.
func about(d time.Duration) string {
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < 10*time.Minute:
		return d.Round(10 * time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}
