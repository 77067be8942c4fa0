package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeArchive stands in for the Debian package client and archive: scripts in
// PATH that serve from a folder.
type fakeArchive struct {
	t   *testing.T
	dir string // lists (what apt-cache sees), archive (what can be downloaded), log
}

// fakeTools are the scripts. $A is the archive's folder. A package is a tar
// file; apt-get update copies what the archive has into the lists.
var fakeTools = map[string]string{
	"apt-cache": `case $1 in
pkgnames) cd "$A/lists" && for f in "$2"*; do [ -e "$f" ] && echo "$f"; done; exit 0 ;;
show) shift 2; [ $# -gt 0 ] || exit 0; cd "$A/lists" && cat "$@" ;;
esac`,
	"apt-get": `echo "$*" >>"$A/log"
case "$*" in
*update*) rm -f "$A"/lists/*; cp "$A"/archive/*.stanza "$A/lists"; cd "$A/lists"
	for f in *.stanza; do [ -e "$f" ] && mv "$f" "${f%.stanza}"; done; exit 0 ;;
*download*) for w; do :; done; name=${w%%=*}
	cp "$A/archive/$name.tar" "./$name.deb" || { echo "E: 404 Not Found" >&2; exit 100; } ;;
esac`,
	"dpkg":   `mkdir -p "$3" && tar -xf "$2" -C "$3"`,
	"depmod": `echo "a.ko:" >"$2/lib/modules/$3/modules.dep"; echo x >"$2/lib/modules/$3/modules.dep.bin"`,
}

// newFakeArchive puts the scripts at the front of PATH for this test.
func newFakeArchive(t *testing.T) *fakeArchive {
	t.Helper()
	a := &fakeArchive{t: t, dir: t.TempDir()}
	bin := filepath.Join(a.dir, "bin")
	for _, dir := range []string{bin, filepath.Join(a.dir, "lists"), filepath.Join(a.dir, "archive")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, script := range fakeTools {
		text := fmt.Sprintf("#!/bin/sh\nA='%s'\n%s\n", a.dir, script)
		if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	return a
}

// put adds a kernel package to the archive, and to the lists if listed.
func (a *fakeArchive) put(name, version, release string, listed bool) {
	a.t.Helper()
	root := a.t.TempDir()
	for path, text := range map[string]string{
		"boot/vmlinuz-" + release:              "kernel " + version,
		"lib/modules/" + release + "/kernel/a": "module",
	} {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			a.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			a.t.Fatal(err)
		}
	}
	tar := filepath.Join(a.dir, "archive", name+".tar")
	if out, err := (apt{}).run(context.Background(), root, "tar", "-cf", tar, "."); err != nil {
		a.t.Fatal(err, string(out))
	}
	sum, err := fileSHA256(tar)
	if err != nil {
		a.t.Fatal(err)
	}
	a.stanza(name, fmt.Sprintf("Package: %s\nVersion: %s\nSHA256: %s\n\n", name, version, sum), listed)
}

// stanza adds what 'apt-cache show' says of a package.
func (a *fakeArchive) stanza(name, text string, listed bool) {
	a.t.Helper()
	paths := []string{filepath.Join(a.dir, "archive", name+".stanza")}
	if listed {
		paths = append(paths, filepath.Join(a.dir, "lists", name))
	}
	for _, path := range paths {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			a.t.Fatal(err)
		}
	}
}

// vanish takes a package out of the archive; the lists still have it.
func (a *fakeArchive) vanish(name string) {
	for _, ext := range []string{".tar", ".stanza"} {
		if err := os.Remove(filepath.Join(a.dir, "archive", name+ext)); err != nil {
			a.t.Fatal(err)
		}
	}
}

// asked counts the apt-get commands with a word in them.
func (a *fakeArchive) asked(word string) int {
	log, err := os.ReadFile(filepath.Join(a.dir, "log"))
	if err != nil && !os.IsNotExist(err) {
		a.t.Fatal(err)
	}
	return strings.Count(string(log), word)
}

// store is a new cache that fetches from the archive.
func (a *fakeArchive) store() store {
	return store{dir: a.t.TempDir(), apt: apt{log: testLog{a.t}}, lists: filepath.Join(a.dir, "lists")}
}

// testLog writes into the test's log.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}
