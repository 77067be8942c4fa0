package exits

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestGuestIsBuiltFromItsSource builds the guest anew and compares it with the committed one.
// guest/TOOLS says by which compiler and linker that was made.
func TestGuestIsBuiltFromItsSource(t *testing.T) {
	out := filepath.Join(t.TempDir(), "exits.elf")
	if text, err := exec.Command("guest/compile.sh", out).CombinedOutput(); err != nil {
		t.Fatalf("guest/compile.sh: %v (install gcc with 'make setup')\n%s", err, text)
	}
	built, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(built, image) {
		return
	}
	recorded, err := os.ReadFile("guest/TOOLS")
	if err != nil {
		t.Fatal(err)
	}
	t.Errorf("guest/compile.sh makes other bits (%d bytes) than guest/exits.elf has (%d): after a change of the source run guest/compile.sh guest/exits.elf.\n"+
		"The committed one was built with:\n%sHere are:\n%s%s", len(built), len(image), recorded, version(t, "gcc"), version(t, "ld"))
}

// version is the first line of what a tool says of itself.
func version(t *testing.T, tool string) string {
	t.Helper()
	out, err := exec.Command(tool, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line + "\n"
}

// TestGuestCanBeLoaded looks at what VMMs rely on.
func TestGuestCanBeLoaded(t *testing.T) {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	var loaded, notes int
	for _, p := range f.Progs {
		switch p.Type {
		case elf.PT_LOAD:
			loaded++
			// Below 1 MiB VMMs have their own, and 16 MiB is where memory is looked for that nobody touches.
			if p.Paddr < 1<<20 || p.Paddr+p.Memsz > 16<<20 || f.Entry < p.Paddr || f.Entry >= p.Paddr+p.Filesz {
				t.Errorf("segment at %#x, %#x bytes; entry %#x", p.Paddr, p.Memsz, f.Entry)
			}
		case elf.PT_NOTE:
			notes++
			note := make([]byte, p.Filesz)
			if _, err := p.ReadAt(note, 0); err != nil || !bytes.Contains(note, []byte("Xen\x00")) {
				t.Errorf("note %q, %v", note, err)
			}
		}
	}
	if loaded != 1 || notes != 1 {
		t.Errorf("%d segments, %d notes", loaded, notes)
	}
}
