package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestLooker(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "machine")
	path := filepath.Join(folder, "alive")
	var l Looker
	var file *os.File // the one that it has open
	expectClosed := func(when string) {
		t.Helper()
		if len(l.open) != 0 {
			t.Errorf("%s: %d files are kept", when, len(l.open))
		}
		if err := file.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: its file was left open: %v", when, err)
		}
	}
	expect := func(when string, want bool) {
		t.Helper()
		if is, err := l.Held(path); is != want || err != nil {
			t.Errorf("%s: %v, %v", when, is, err)
		}
		if f := l.open[path]; f != nil != want {
			t.Errorf("%s: a file is kept: %v", when, f != nil)
		} else if want {
			file = f
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
	expect("no file", false)
	first := lock()
	expect("held", true)
	expect("held on", true)
	if allocs := testing.AllocsPerRun(100, func() { _, _ = l.Held(path) }); allocs > 1 {
		t.Errorf("%v allocations for a look", allocs)
	}
	unlock(first)
	expect("free", false)
	expectClosed("free")
	second := lock()
	expect("held again", true)
	unlock(second)
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	third := lock()
	expect("held in a new file, between two looks", true)
	if err := l.Sweep(); err != nil || l.open[path] != file {
		t.Errorf("a file that was asked for is closed: %v", err)
	}
	if err := l.Sweep(); err != nil {
		t.Error(err)
	}
	expectClosed("not asked for")
	expect("after it was forgotten", true)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	expectClosed("closed")
	unlock(third)
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
