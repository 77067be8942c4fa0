package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEmulatorProgram(t *testing.T) {
	cache, bin := t.TempDir(), t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("PATH", bin)
	t.Setenv(emulatorEnv, "")
	program := func(dir string) string {
		t.Helper()
		path := filepath.Join(dir, emulatorName)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	want := func(deterministic bool, path string) {
		t.Helper()
		if got, err := emulatorProgram(deterministic); got != path || (err == nil) != (path != "") {
			t.Errorf("deterministic %v: %q, %v, want %q", deterministic, got, err, path)
		}
	}
	want(false, "")
	debians := program(bin)
	want(false, debians)
	want(true, debians)
	mended := program(filepath.Join(cache, "gureum", "lab", emulatorFolder, "bin"))
	want(false, debians)
	want(true, mended)
	own := program(t.TempDir())
	t.Setenv(emulatorEnv, own)
	want(false, own)
	want(true, own)
}

// TestEmulatorFolder holds the two places that name it to one name.
func TestEmulatorFolder(t *testing.T) {
	text, err := os.ReadFile("emulator/build.sh")
	if err != nil {
		t.Fatal(err)
	}
	if want := "\ntarget=$cache/" + emulatorFolder + "\n"; !strings.Contains(string(text), want) {
		t.Errorf("build.sh has no line %q", want)
	}
}
