// Package gureum_test holds what is true of the whole repository: which room may
// import which, and where unsafe code may live.
package gureum_test

import (
	"bytes"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/gureum/gureum/"

// mayImport lists for each room the other rooms that it may import. Within a
// room anything goes but a cycle, which Go itself refuses.
var mayImport = map[string][]string{
	"kvm":     nil,
	"guest":   nil,
	"vcpu":    {"kvm"},
	"devices": {"kvm"},
	"virtio":  {"kvm", "guest", "devices"},
	"net":     {"kvm"},
	"vm":      {"kvm", "vcpu", "devices", "virtio", "net", "guest"},
	"fleet":   {"vm", "kvm", "vcpu", "devices", "virtio", "net", "guest"},
	"lab":     {"guest", "kvm"},
	"bench":   {"lab", "guest", "vm", "kvm"},
	"cmd":     {"fleet", "vm", "lab", "guest", "bench", "cmd", "kvm", "vcpu", "devices", "virtio", "net"},
}

func room(importPath string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(importPath, module), "/")
	return first
}

func TestImportsPointDown(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		from := room(words[0])
		for _, path := range words[1:] {
			if !strings.HasPrefix(path, module) || room(path) == from {
				continue
			}
			seen++
			if !slices.Contains(mayImport[from], room(path)) {
				t.Errorf("%s imports %s: the arrow points up", words[0], path)
			}
		}
	}
	if seen == 0 {
		t.Error("no import between rooms was seen: the test looks in the wrong place")
	}
}

func TestUnsafeIsVisible(t *testing.T) {
	seen := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		visible := strings.HasSuffix(strings.TrimSuffix(path, "_test.go"), "_unsafe") || strings.HasSuffix(path, "_unsafe.go")
		for _, spec := range file.Imports {
			if spec.Path.Value != `"unsafe"` {
				continue
			}
			seen++
			if !visible {
				t.Errorf("%s imports unsafe: move that code to a file named *_unsafe.go", path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen == 0 {
		t.Error("no file that imports unsafe was seen: the test looks in the wrong place")
	}
}

// TestNoCgo holds that the shipped program needs no C library.
func TestNoCgo(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{if .CgoFiles}}{{.ImportPath}}{{end}}", "./cmd/gureum")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if out = bytes.TrimSpace(out); len(out) > 0 {
		t.Errorf("packages with cgo: %s", out)
	}
}
