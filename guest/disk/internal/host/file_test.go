package host

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func create(t *testing.T, o Options) *File {
	t.Helper()
	o.Create = true
	f, err := Open(filepath.Join(t.TempDir(), "file"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// TestZeroesWithoutTheKernelsHelp has the file system know neither holes nor zeroes.
func TestZeroesWithoutTheKernelsHelp(t *testing.T) {
	for _, direct := range []bool{false, true} {
		f := create(t, Options{Direct: direct})
		f.noPunch.Store(true)
		f.noZero.Store(true)
		want := bytes.Repeat([]byte{7}, 300_000)
		if _, err := f.WriteAt(want, 0); err != nil {
			t.Fatal(err)
		}
		for _, unmap := range []bool{false, true} {
			if err := f.Zero(1001, 200_003, unmap); err != nil {
				t.Fatal(err)
			}
		}
		clear(want[1001 : 1001+200_003])
		got := make([]byte, len(want))
		if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
			t.Errorf("direct %v: it reads otherwise, %v", direct, err)
		}
		if done, err := f.Punch(0, 4096); done || err != nil {
			t.Errorf("punch: %v, %v", done, err)
		}
	}
}

// TestDirectKeepsItsNeighbours writes pieces of blocks side by side, each of which is read
// and written again with O_DIRECT.
func TestDirectKeepsItsNeighbours(t *testing.T) {
	f := create(t, Options{Direct: true})
	const pieces, n = 8, 700
	done := make(chan error, pieces)
	for i := range pieces {
		go func() {
			var err error
			for range 50 {
				_, e := f.WriteAt(bytes.Repeat([]byte{byte(i + 1)}, n), int64(i*n))
				err = errors.Join(err, e)
			}
			done <- err
		}()
	}
	for range pieces {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	got := make([]byte, pieces*n)
	if _, err := f.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	for i, b := range got {
		if int(b) != i/n+1 {
			t.Fatalf("byte %d is %d", i, b)
		}
	}
}

func TestAPipeIsNoDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, readOnly := range []bool{false, true} {
		if _, err := Open(path, Options{ReadOnly: readOnly}); !errors.Is(err, ErrFormat) {
			t.Errorf("read-only %v: %v", readOnly, err)
		}
	}
}

func TestCreateTakesNothingOver(t *testing.T) {
	f := create(t, Options{})
	if _, err := Open(f.Path(), Options{Create: true}); !errors.Is(err, os.ErrExist) {
		t.Error(err)
	}
}

// TestAFailedSyncIsNotForgotten: the kernel forgets it.
func TestAFailedSyncIsNotForgotten(t *testing.T) {
	f := create(t, Options{})
	var fault error = &os.PathError{Op: "fdatasync", Path: f.Path(), Err: unix.EIO}
	f.syncErr.Store(&fault)
	if err := f.Sync(); !errors.Is(err, unix.EIO) {
		t.Error(err)
	}
}

func TestCheckRange(t *testing.T) {
	for _, c := range []struct {
		off, n, size int64
		ok           bool
	}{
		{0, 0, 0, true},
		{0, 10, 10, true},
		{10, 0, 10, true},
		{10, 1, 10, false},
		{11, 0, 10, false},
		{-1, 5, 10, false},
		{5, -1, 10, false},
		{1, math.MaxInt64, math.MaxInt64, false},
		{math.MaxInt64, math.MaxInt64, math.MaxInt64, false},
	} {
		if err := CheckRange(c.off, c.n, c.size); (err == nil) != c.ok {
			t.Errorf("%d bytes at %d of %d: %v", c.n, c.off, c.size, err)
		}
	}
}
