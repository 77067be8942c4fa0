package state

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// openFiles counts this process's descriptors.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestLooker(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "machine")
	path := filepath.Join(folder, "alive")
	before := openFiles(t)
	var l Looker
	expect := func(when string, want bool, files int) {
		t.Helper()
		if held, err := l.Held(path); held != want || err != nil {
			t.Errorf("%s: %v, %v", when, held, err)
		}
		if n := openFiles(t) - before; n != files {
			t.Errorf("%s: %d files are open, want %d", when, n, files)
		}
	}
	lock := func() *Lock {
		t.Helper()
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		lock, err := TryLock(path)
		if err != nil {
			t.Fatal(err)
		}
		return lock
	}
	unlock := func(l *Lock) {
		t.Helper()
		if err := l.Unlock(); err != nil {
			t.Fatal(err)
		}
	}
	expect("no file", false, 0)
	first := lock()
	expect("held", true, 2)
	expect("held on", true, 2)
	if allocs := testing.AllocsPerRun(100, func() { _, _ = l.Held(path) }); allocs > 1 {
		t.Errorf("%v allocations for a look", allocs)
	}
	unlock(first)
	expect("free", false, 0)
	second := lock()
	expect("held again", true, 2)
	unlock(second)
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	third := lock()
	expect("held in a new file, between two looks", true, 2)
	for i := range 2 {
		if err := l.Sweep(); err != nil {
			t.Error(err)
		}
		if n := openFiles(t) - before; n != 2-i {
			t.Errorf("%d files are open after sweep %d", n, i)
		}
	}
	expect("after it was forgotten", true, 2)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	unlock(third)
	if n := openFiles(t) - before; n != 0 {
		t.Errorf("%d files are left open", n)
	}
}

func BenchmarkLooker(b *testing.B) {
	var l Looker
	defer l.Close()
	var paths []string
	for i := range 100 {
		path := filepath.Join(b.TempDir(), fmt.Sprint(i))
		lock, err := TryLock(path)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = lock.Unlock() })
		paths = append(paths, path)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, p := range paths {
			if held, err := l.Held(p); !held || err != nil {
				b.Fatal(held, err)
			}
		}
		if err := l.Sweep(); err != nil {
			b.Fatal(err)
		}
	}
}
