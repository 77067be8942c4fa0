package lab

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const cloud = "linux-image-6.1.*-cloud-amd64"

func fetchOK(t *testing.T, s store, pattern string) Kernel {
	t.Helper()
	k, err := s.kernel(context.Background(), pattern)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// age sets the lists' time, to before or after a pattern was looked up.
func age(t *testing.T, s store, d time.Duration) {
	t.Helper()
	when := time.Now().Add(d)
	if err := os.Chtimes(s.lists, when, when); err != nil {
		t.Fatal(err)
	}
}

func TestKernelNewest(t *testing.T) {
	a := newFakeArchive(t)
	a.put("linux-image-6.1.0-9-cloud-amd64", "6.1.9-1", "6.1.0-9-cloud-amd64", true)
	a.put("linux-image-6.1.0-10-cloud-amd64", "6.1.10-1", "6.1.0-10-cloud-amd64", true)
	a.put("linux-image-6.12.1-cloud-amd64", "6.12.1-1", "6.12.1-cloud-amd64", true)
	s := a.store()
	age(t, s, -time.Hour)
	k := fetchOK(t, s, cloud)
	if k.Package != "linux-image-6.1.0-10-cloud-amd64" || k.Version != "6.1.10-1" || k.Release != "6.1.0-10-cloud-amd64" {
		t.Errorf("got %+v", k)
	}
	if text, err := os.ReadFile(k.Vmlinuz()); err != nil || string(text) != "kernel 6.1.10-1" {
		t.Errorf("vmlinuz: %q, %v", text, err)
	}
	fetchOK(t, s, cloud)
	if n := a.asked("download"); n != 1 {
		t.Errorf("%d downloads: the second use was not from the cache", n)
	}
}

func TestKernelOfMetapackage(t *testing.T) {
	a := newFakeArchive(t)
	a.put("linux-image-6.1.0-9-amd64", "6.1.9-1", "6.1.0-9-amd64", true)
	a.stanza("linux-image-amd64", "Package: linux-image-amd64\nVersion: 6.1.9-1\nDepends: linux-image-6.1.0-9-amd64 (= 6.1.9-1), x\n", true)
	if k := fetchOK(t, a.store(), "linux-image-amd64"); k.Package != "linux-image-6.1.0-9-amd64" {
		t.Errorf("got %+v", k)
	}
}

func TestKernelPlainFlavour(t *testing.T) {
	a := newFakeArchive(t)
	for _, flavour := range []string{"amd64", "cloud-amd64", "rt-amd64"} {
		a.put("linux-image-6.12.1-"+flavour, "6.12.1-1", "6.12.1-"+flavour, true)
	}
	if k := fetchOK(t, a.store(), "linux-image-6.12.*-amd64"); k.Release != "6.12.1-amd64" {
		t.Errorf("got %+v", k)
	}
}

func TestKernelListsMissing(t *testing.T) {
	a := newFakeArchive(t)
	a.put("linux-image-6.1.0-9-cloud-amd64", "6.1.9-1", "6.1.0-9-cloud-amd64", false)
	fetchOK(t, a.store(), cloud)
	if n := a.asked("update"); n != 1 {
		t.Errorf("lists refreshed %d times, want once", n)
	}
}

func TestKernelVanished(t *testing.T) {
	a := newFakeArchive(t)
	a.put("linux-image-6.1.0-9-cloud-amd64", "6.1.9-1", "6.1.0-9-cloud-amd64", true)
	a.put("linux-image-6.1.0-10-cloud-amd64", "6.1.10-1", "6.1.0-10-cloud-amd64", false)
	a.vanish("linux-image-6.1.0-9-cloud-amd64")
	if k := fetchOK(t, a.store(), cloud); k.Release != "6.1.0-10-cloud-amd64" {
		t.Errorf("got %+v", k)
	}
}

func TestKernelUnknown(t *testing.T) {
	a := newFakeArchive(t)
	s := a.store()
	_, err := s.kernel(context.Background(), "linux-image-9.*")
	if err == nil || !strings.Contains(err.Error(), "linux-image-9.*") {
		t.Errorf("got %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "tmp-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestKernelTampered(t *testing.T) {
	a := newFakeArchive(t)
	name := "linux-image-6.1.0-9-cloud-amd64"
	a.put(name, "6.1.9-1", "6.1.0-9-cloud-amd64", true)
	a.stanza(name, "Package: "+name+"\nVersion: 6.1.9-1\nSHA256: "+strings.Repeat("0", 64)+"\n", true)
	s := a.store()
	if _, err := s.kernel(context.Background(), cloud); err == nil || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("got %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "kernels", "*")); len(left) > 0 {
		t.Errorf("in the cache: %v", left)
	}
}

func TestKernelDamaged(t *testing.T) {
	a := newFakeArchive(t)
	a.put("linux-image-6.1.0-9-cloud-amd64", "6.1.9-1", "6.1.0-9-cloud-amd64", true)
	s := a.store()
	age(t, s, -time.Hour)
	damage := map[string]func(Kernel) error{
		"kernel":   func(k Kernel) error { return os.WriteFile(k.Vmlinuz(), []byte("kernel 6.1.9-2"), 0o644) },
		"module":   func(k Kernel) error { return os.Remove(filepath.Join(k.Modules(), "kernel", "a")) },
		"manifest": func(k Kernel) error { return os.Truncate(filepath.Join(k.Dir, manifestName), 20) },
		"pattern":  func(Kernel) error { return os.WriteFile(s.patternFile(cloud), []byte("../.. x"), 0o644) },
	}
	for name, do := range damage {
		t.Run(name, func(t *testing.T) {
			k := fetchOK(t, s, cloud)
			if err := do(k); err != nil {
				t.Fatal(err)
			}
			k = fetchOK(t, s, cloud)
			if text, err := os.ReadFile(k.Vmlinuz()); err != nil || string(text) != "kernel 6.1.9-1" {
				t.Errorf("vmlinuz: %q, %v", text, err)
			}
			if _, err := os.Stat(filepath.Join(k.Modules(), "kernel", "a")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestKernelUpgrade(t *testing.T) {
	a := newFakeArchive(t)
	a.put("linux-image-6.1.0-9-cloud-amd64", "6.1.9-1", "6.1.0-9-cloud-amd64", true)
	s := a.store()
	old := fetchOK(t, s, cloud)
	release, err := old.hold()
	if err != nil {
		t.Fatal(err)
	}
	a.put("linux-image-6.1.0-10-cloud-amd64", "6.1.10-1", "6.1.0-10-cloud-amd64", true)
	age(t, s, time.Hour)
	if k := fetchOK(t, s, cloud); k.Release != "6.1.0-10-cloud-amd64" {
		t.Errorf("after newer lists: got %+v", k)
	}
	if _, err := os.Stat(old.Vmlinuz()); err != nil {
		t.Errorf("kernel in use was removed: %v", err)
	}
	release()
	fetchOK(t, s, cloud)
	if _, err := os.Stat(old.Dir); err == nil {
		t.Error("kernel of an old version was kept")
	}
}

func TestKernelOffline(t *testing.T) {
	a := newFakeArchive(t)
	a.put("linux-image-6.1.0-9-cloud-amd64", "6.1.9-1", "6.1.0-9-cloud-amd64", true)
	s := a.store()
	old := fetchOK(t, s, cloud)
	a.put("linux-image-6.1.0-10-cloud-amd64", "6.1.10-1", "6.1.0-10-cloud-amd64", true)
	if err := os.Remove(filepath.Join(a.dir, "archive", "linux-image-6.1.0-10-cloud-amd64.tar")); err != nil {
		t.Fatal(err)
	}
	age(t, s, time.Hour)
	if k := fetchOK(t, s, cloud); k != old {
		t.Errorf("got %+v, want the cached %+v", k, old)
	}
}

func TestKernelTwoLabsAtOnce(t *testing.T) {
	a := newFakeArchive(t)
	a.put("linux-image-6.1.0-9-cloud-amd64", "6.1.9-1", "6.1.0-9-cloud-amd64", true)
	s := a.store()
	age(t, s, -time.Hour)
	if err := os.MkdirAll(filepath.Join(s.dir, "tmp-killed", "root"), 0o755); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := s.kernel(context.Background(), cloud); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := a.asked("download"); n != 1 {
		t.Errorf("%d downloads, want one", n)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "tmp-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
