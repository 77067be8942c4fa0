package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// goEnvironment pins what changes a program's bits beside its sources and Go's
// version.
var goEnvironment = []string{
	"CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off", "GOFIPS140=off",
}

func goTool(root string, args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), goEnvironment...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return out, nil
}

// moduleRoot is the directory of go.mod.
func moduleRoot() (string, error) {
	out, err := goTool(".", "env", "GOMOD")
	if err != nil {
		return "", err
	}
	mod := strings.TrimSpace(string(out))
	if filepath.Base(mod) != "go.mod" {
		return "", errors.New("not inside the module: change to its directory")
	}
	return filepath.Dir(mod), nil
}

// buildInit compiles guest/init, small and the same every time.
func buildInit(root string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "gureum-init-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "init")
	if _, err := goTool(root, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", path, "./guest/init"); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// initSources is a hash over the sources of init, ours and its modules', which
// tells without compiling whether the archive is stale.
func initSources(root string) (string, error) {
	const format = `{{if not .Standard}}{{$p := .ImportPath}}{{$m := ""}}{{with .Module}}{{$m = .Version}}{{end}}{{range .GoFiles}}{{$p}} {{$m}} {{$.Dir}}/{{.}}
{{end}}{{end}}`
	out, err := goTool(root, "list", "-deps", "-f", format, "./guest/init")
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for line := range strings.Lines(string(out)) {
		f := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(f) != 3 {
			continue
		}
		text, err := os.ReadFile(f[2])
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %s %s %x\n", f[0], f[1], filepath.Base(f[2]), sha256.Sum256(text))
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// busybox is the program with its provenance.
type busybox struct {
	data       []byte
	version    string // of the binary package
	source     string // name and version of the source package
	builtUsing string // sources linked in
	applets    []string
}

const busyboxPackage = "busybox-static"

func readBusybox(path string) (busybox, error) {
	var b busybox
	var err error
	if b.data, err = os.ReadFile(path); err != nil {
		return b, fmt.Errorf("%w: install the package %s", err, busyboxPackage)
	}
	if out, err := exec.Command("dpkg", "--verify", busyboxPackage).Output(); err != nil || strings.Contains(string(out), "/bin/busybox") {
		return b, fmt.Errorf("%s is not as the package %s ships it: install the package anew", path, busyboxPackage)
	}
	out, err := exec.Command("dpkg-query", "-W", "-f", "${Version}\n${source:Package} ${source:Version}\n${Built-Using}\n", busyboxPackage).Output()
	if err != nil {
		return b, fmt.Errorf("dpkg-query %s: %w", busyboxPackage, err)
	}
	lines := strings.SplitN(strings.TrimSpace(string(out))+"\n\n", "\n", 4)
	b.version, b.source, b.builtUsing = lines[0], lines[1], lines[2]
	b.applets, err = listApplets(b.data)
	return b, err
}

// listApplets asks busybox what it can do.
func listApplets(program []byte) ([]string, error) {
	dir, err := os.MkdirTemp("", "gureum-busybox-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "busybox")
	if err := os.WriteFile(path, program, 0o700); err != nil {
		return nil, err
	}
	out, err := exec.Command(path, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("busybox --list: %w", err)
	}
	return strings.Fields(string(out)), nil
}
