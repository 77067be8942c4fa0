package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	if err := write(dir); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"man/man1/gureum.1":                "Gureum runs virtual machines",
		"man/man1/gureum-run.1":            "gureum run -- uname -a",
		"man/man1/gureum-doctor.1":         "can run machines",
		"man/man1/gureum-kernel-inspect.1": "entry points",
		"completions/gureum.bash":          "__start_gureum",
		"completions/_gureum":              "#compdef gureum",
		"completions/gureum.fish":          "complete -c gureum",
	} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.Contains(string(b), want) {
			t.Errorf("%s does not have %q", file, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "man/man1/gureum-terminal-guard.1")); err == nil {
		t.Error("a hidden command has a manual page")
	}
}
