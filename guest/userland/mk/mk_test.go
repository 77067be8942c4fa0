package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/gureum/gureum/guest/initramfs"
	"github.com/gureum/gureum/guest/userland"
)

const refresh = "run `make userland` and commit its result"

func manifest(t *testing.T, root string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "guest/userland/MANIFEST"))
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		m[key] = value
	}
	return m
}

// member reads one file of the archive.
func member(t *testing.T, archive []byte, name string) []byte {
	t.Helper()
	r := initramfs.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			if err = r.NextArchive(); err != nil {
				t.Fatalf("%s is not in the archive: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == name {
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
}

// TestArtefactIsCurrent makes the archive anew, with the busybox of the committed
// one, and wants the same bytes.
func TestArtefactIsCurrent(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	m := manifest(t, root)
	blob, id := userland.Blob()
	committed, err := unpack([]byte(blob))
	if err != nil {
		t.Fatal(err)
	}
	if digest(committed) != id || id != m["archive-sha256"] {
		t.Fatalf("archive, id.go and MANIFEST do not belong together: %s", refresh)
	}

	in := inputs{files: os.DirFS(filepath.Join(root, "guest/userland/root"))}
	in.busybox.data = member(t, committed, "bin/busybox")
	if digest(in.busybox.data) != m["busybox-sha256"] {
		t.Fatalf("busybox is not what MANIFEST says: %s", refresh)
	}
	if in.busybox.applets, err = listApplets(in.busybox.data); err != nil {
		t.Fatal(err)
	}
	if in.init = member(t, committed, initPath); runtime.Version() == m["init-go"] {
		if in.init, err = buildInit(root); err != nil {
			t.Fatal(err)
		}
	} else if sources, err := initSources(root); err != nil || sources != m["init-sources-sha256"] {
		t.Fatalf("guest/init or what it imports has changed (%v): %s", err, refresh)
	}
	if digest(in.init) != m["init-sha256"] {
		t.Fatalf("guest/init builds to another program than the archive has: %s", refresh)
	}
	a, err := pack(in)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.data, committed) {
		t.Fatalf("guest/userland/root or guest/userland/mk has changed: %s", refresh)
	}
	if int64(a.overlay) != userland.OverlaySize() || int64(len(a.data)) != userland.Size() {
		t.Fatalf("sizes in id.go: %s", refresh)
	}
}

// TestOverlay wants init and nothing else in the part that goes behind a user's
// own initrd.
func TestOverlay(t *testing.T) {
	r := initramfs.NewReader(bytes.NewReader(userland.Overlay()))
	var names []string
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	if got := strings.Join(names, " "); got != ".gureum .gureum/init" {
		t.Errorf("overlay holds %s", got)
	}
}

// TestTools wants the tools that the default guest promises.
func TestTools(t *testing.T) {
	have := map[string]bool{}
	r := initramfs.NewReader(bytes.NewReader(userland.Archive()))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			if r.NextArchive() != nil {
				break
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		have[h.Name] = true
	}
	for _, name := range strings.Fields("sh ip ping mount ps wget vi less udhcpc free nproc top dmesg poweroff reboot tar gzip nc stty") {
		if !have["bin/"+name] {
			t.Errorf("bin/%s is missing", name)
		}
	}
}
