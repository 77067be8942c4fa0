package cli

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	benchreport "github.com/gureum/gureum/bench/report"
)

func TestProgress(t *testing.T) {
	var out strings.Builder
	began := time.Unix(1000, 0)
	p := &progress{w: &out, began: began, style: func() benchreport.Style { return benchreport.Style{Width: 60} }}
	for _, tt := range []struct {
		passed    time.Duration
		done, all int
		want      string
	}{
		{0, 0, 1000, "░░░░░░░░░░░░░░░░░░░░   0%  boot: qemu, run 1 of 5"},
		{time.Second, 10, 1000, "░░░░░░░░░░░░░░░░░░░░   1%  boot: qemu, run 1 of 5"},
		{10 * time.Second, 250, 1000, "█████░░░░░░░░░░░░░░░  25% 30s left  boot: qemu, run 1 of 5"},
		{4 * time.Minute, 100, 1000, "██░░░░░░░░░░░░░░░░░░  10% 36m left  boot: qemu, run 1 of 5"},
		{time.Minute, 1000, 1000, "████████████████████ 100% 0s left  boot: qemu, run 1 of 5"},
		{time.Minute, 2000, 0, "████████████████████ 100% 0s left  boot: qemu, run 1 of 5"},
	} {
		p.now = func() time.Time { return began.Add(tt.passed) }
		if got := p.text("boot: qemu, run 1 of 5", tt.done, tt.all); got != tt.want {
			t.Errorf("after %v: %q, want %q", tt.passed, got, tt.want)
		}
	}
	for _, width := range []int{1, 10, 40, 59} {
		p.style = func() benchreport.Style { return benchreport.Style{Width: width, ASCII: true} }
		got := p.text("a step with a long name: it does not fit", 1, 2)
		if n := utf8.RuneCountInString(got); n > width-1 || strings.Contains(got, "█") {
			t.Errorf("%d columns of %d: %q", n, width, got)
		}
	}
	p.step("x", 1, 2)
	p.end()
	p.end()
	if got := out.String(); !strings.HasPrefix(got, "\r\x1b[K#####") || strings.Count(got, "\x1b[K") != 2 || !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("%q", got)
	}
	quiet := newProgress(Streams{Err: &out})
	before := out.Len()
	quiet.step("x", 1, 2)
	quiet.end()
	if out.Len() != before {
		t.Error("a bar where there is no terminal")
	}
}

func TestStyleOf(t *testing.T) {
	for _, tt := range []struct {
		all, kind, lang string
		ascii           bool
	}{
		{"", "", "", true},
		{"", "", "C", true},
		{"", "", "ko_KR.UTF-8", false},
		{"", "", "en_US.utf8", false},
		{"C", "", "ko_KR.UTF-8", true},
		{"", "C.UTF-8", "C", false},
	} {
		t.Setenv("LC_ALL", tt.all)
		t.Setenv("LC_CTYPE", tt.kind)
		t.Setenv("LANG", tt.lang)
		if got := styleOf(io.Discard); got.ASCII != tt.ascii || got.Width != plainColumns {
			t.Errorf("%+v: %+v", tt, got)
		}
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "report.html")
	hello := func(w io.Writer) error { _, err := io.WriteString(w, "hello"); return err }
	for range 2 { // a second time it replaces
		if err := writeFile(path, hello); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "hello" {
		t.Errorf("%q, %v", text, err)
	}
	broken := errors.New("broken")
	if err := writeFile(path, func(io.Writer) error { return broken }); !errors.Is(err, broken) || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
	entries, err := os.ReadDir(dir)
	if text, _ := os.ReadFile(path); err != nil || len(entries) != 1 || string(text) != "hello" {
		t.Errorf("after a failure: %v, %q, %v", entries, text, err)
	}
	if err := writeFile("/dev/null", hello); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat("/dev/null"); err != nil || info.Mode().IsRegular() {
		t.Fatalf("/dev/null is gone: %v", err)
	}
	if err := writeFile("/dev/full", hello); err == nil {
		t.Error("a full device is taken")
	}
	if err := writeFile(filepath.Join(dir, "none", "x"), hello); err == nil {
		t.Error("a folder that is not there is taken")
	}
}
