package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestKVMTour runs the tour of the README, each line as it is there.
func TestKVMTour(t *testing.T) {
	lines := tour(t)
	if len(lines) >= 10 {
		t.Errorf("the tour has %d lines: fewer than ten are promised", len(lines))
	}
	var script strings.Builder
	for _, line := range lines {
		script.WriteString("exec sh -e -c '" + strings.ReplaceAll(line, "'", "''") + "'\n")
		switch {
		case strings.Contains(line, "wget"):
			script.WriteString("stdout '^hello from web$'\n")
		case strings.Contains(line, " ping "):
			script.WriteString("stdout ' 0% packet loss'\n")
		case line == "gureum ps":
			script.WriteString("stdout 'db .*shop'\nstdout 'api .*shop'\nstdout 'web .*shop'\n")
		}
	}
	script.WriteString("exec gureum ps -aq\n! stdout .\nexec gureum network ls -q\n! stdout shop\n")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tour.txtar"), []byte(script.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, params(dir))
}

// tour is the lines of the README's tour.
func tour(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "<!-- tour -->\n```console\n")
	block, _, closed := strings.Cut(rest, "\n```")
	if !found || !closed {
		t.Fatal("README.md has no tour")
	}
	return strings.Split(block, "\n")
}
