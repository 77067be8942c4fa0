package linux

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/pierrec/lz4/v4"
)

func manifest(t *testing.T) map[string]string {
	t.Helper()
	facts := make(map[string]string)
	for line := range strings.Lines(string(read(t, "MANIFEST"))) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !ok || value == "" {
			t.Fatalf("MANIFEST: line %q is not 'key: value'", line)
		}
		facts[key] = value
	}
	return facts
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func unpack(t *testing.T) []byte {
	t.Helper()
	blob, _ := Image()
	vmlinux := bytes.NewBuffer(make([]byte, 0, Size()))
	if _, err := vmlinux.ReadFrom(lz4.NewReader(bytes.NewReader(blob))); err != nil {
		t.Fatal(err)
	}
	return vmlinux.Bytes()
}

// TestInputs fails when the recipe or the configuration changed and nobody ran
// `make kernel`. It computes what inputs.sh prints.
func TestInputs(t *testing.T) {
	patches, err := filepath.Glob("patches/*.patch")
	if err != nil {
		t.Fatal(err)
	}
	var list strings.Builder
	for _, path := range append([]string{"compile.sh", "gureum.config"}, patches...) {
		fmt.Fprintf(&list, "%s  %s\n", digest(read(t, path)), path)
	}
	if got, want := digest([]byte(list.String())), manifest(t)["inputs-sha256"]; got != want {
		t.Errorf("inputs hash to %s, the artefact was built from %s: run 'make kernel'", got, want)
	}
}

// TestManifest compares the artefact and the generated constants with MANIFEST.
func TestManifest(t *testing.T) {
	facts := manifest(t)
	blob, id := Image()
	config := read(t, "gureum.resolved.config")
	tests := []struct{ key, got string }{
		{"release", Version()},
		{"vmlinux-sha256", id},
		{"vmlinux-size", strconv.FormatInt(Size(), 10)},
		{"image-sha256", digest(blob)},
		{"image-size", strconv.Itoa(len(blob))},
		{"config-sha256", digest(config)},
	}
	for _, tt := range tests {
		if tt.got != facts[tt.key] {
			t.Errorf("%s: have %s, MANIFEST says %s", tt.key, tt.got, facts[tt.key])
		}
	}
	for _, key := range []string{"source-package", "source-version", "source-sha256", "compiler", "linker"} {
		if facts[key] == "" {
			t.Errorf("MANIFEST lacks %s", key)
		}
	}
}

// TestImage unpacks the artefact and looks at what a loader relies on.
func TestImage(t *testing.T) {
	vmlinux := unpack(t)
	if got, want := digest(vmlinux), kernelID; got != want {
		t.Fatalf("the blob unpacks to %s, want %s", got, want)
	}
	file, err := elf.NewFile(bytes.NewReader(vmlinux))
	if err != nil {
		t.Fatal(err)
	}
	if file.Machine != elf.EM_X86_64 || file.Type != elf.ET_EXEC {
		t.Errorf("ELF is %v %v, want an x86-64 executable", file.Machine, file.Type)
	}
	if !bytes.Contains(vmlinux, []byte("Linux version "+Version()+" ")) {
		t.Errorf("no banner of release %s in the image", Version())
	}
	if entry := pvhEntry(t, file); entry < 0x200000 || entry > 64<<20 {
		t.Errorf("PVH entry is %#x", entry)
	}
	for _, p := range file.Progs {
		if p.Type == elf.PT_LOAD && (p.Paddr < 0x200000 || p.Paddr+p.Memsz > 30<<20) {
			t.Errorf("segment %#x+%#x leaves no room in a 32 MiB guest", p.Paddr, p.Memsz)
		}
	}
}

// pvhEntry finds the note XEN_ELFNOTE_PHYS32_ENTRY (Xen's public/elfnote.h).
func pvhEntry(t *testing.T, file *elf.File) uint32 {
	t.Helper()
	const physEntry32 = 18
	for _, p := range file.Progs {
		if p.Type != elf.PT_NOTE {
			continue
		}
		notes := make([]byte, p.Filesz)
		if _, err := p.ReadAt(notes, 0); err != nil {
			t.Fatal(err)
		}
		for len(notes) >= 12 {
			nameLen := int(binary.LittleEndian.Uint32(notes)+3) &^ 3
			descLen := int(binary.LittleEndian.Uint32(notes[4:])+3) &^ 3
			kind := binary.LittleEndian.Uint32(notes[8:])
			name, desc := notes[12:12+nameLen], notes[12+nameLen:12+nameLen+descLen]
			if kind == physEntry32 && string(name) == "Xen\x00" {
				return binary.LittleEndian.Uint32(desc)
			}
			notes = notes[12+nameLen+descLen:]
		}
	}
	t.Fatal("no PVH note")
	return 0
}
