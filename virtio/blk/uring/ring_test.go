package uring

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newRing(t *testing.T, entries int, f *os.File, eventfd int) *Ring {
	t.Helper()
	r, err := New(entries, int(f.Fd()), eventfd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n := r.InFlight(); n != 0 {
			t.Errorf("%d operations in flight at the end", n)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func newFile(t *testing.T, content []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func vector(parts ...[]byte) []unix.Iovec {
	var v []unix.Iovec
	for _, p := range parts {
		v = append(v, unix.Iovec{Base: &p[0], Len: uint64(len(p))})
	}
	return v
}

func submit(t *testing.T, r *Ring, wait int) {
	t.Helper()
	if err := r.Submit(wait); err != nil {
		t.Fatal(err)
	}
}

// results waits for n results and returns them by their data.
func results(t *testing.T, r *Ring, n int) map[uint64]int32 {
	t.Helper()
	got := map[uint64]int32{}
	for len(got) < n {
		data, res, ok := r.Next()
		if !ok {
			submit(t, r, 1)
			continue
		}
		if _, twice := got[data]; twice {
			t.Fatalf("operation %d has two results", data)
		}
		got[data] = res
	}
	return got
}

func TestReadWriteSync(t *testing.T) {
	f := newFile(t, []byte("0123456789abcdef"))
	r := newRing(t, 4, f, -1)
	a, b := make([]byte, 4), make([]byte, 6)
	if !r.Readv(7, vector(a, b), 2) {
		t.Fatal("a new ring is full")
	}
	if got := results(t, r, 1); got[7] != 10 || string(a)+string(b) != "23456789ab" {
		t.Errorf("read: %v %q %q", got, a, b)
	}
	r.Writev(8, vector([]byte("XY"), []byte("Z")), 14, 0)
	r.Writev(9, vector([]byte("W")), 0, unix.RWF_DSYNC)
	if got := results(t, r, 2); got[8] != 3 || got[9] != 1 {
		t.Errorf("write: %v", got)
	}
	r.Sync(10)
	r.Readv(11, vector(a), 100)
	if got := results(t, r, 2); got[10] != 0 || got[11] != 0 {
		t.Errorf("sync and read behind the end: %v", got)
	}
	if text, _ := os.ReadFile(f.Name()); string(text) != "W123456789abcdXYZ" {
		t.Errorf("the file holds %q", text)
	}
}

func TestErrorsAreErrnos(t *testing.T) {
	f := newFile(t, nil)
	ro, err := os.Open(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer ro.Close()
	r := newRing(t, 4, ro, -1)
	r.Writev(1, vector([]byte("x")), 0, 0)
	r.Nop(2)
	if got := results(t, r, 2); got[1] != -int32(unix.EBADF) || got[2] != 0 {
		t.Errorf("%v, want EBADF for a write to a file that is open for reading", got)
	}
}

func TestFullAndWrap(t *testing.T) {
	r := newRing(t, 4, newFile(t, nil), -1)
	for round := range uint64(1000) {
		for i := range uint64(4) {
			if !r.Nop(round<<8 | i) {
				t.Fatalf("full after %d", i)
			}
		}
		if r.Nop(99) {
			t.Fatal("a fifth entry in a ring of four")
		}
		if r.Pending() != 4 || r.InFlight() != 4 {
			t.Fatalf("%d pending, %d in flight", r.Pending(), r.InFlight())
		}
		got := results(t, r, 4)
		for i := range uint64(4) {
			if res, ok := got[round<<8|i]; !ok || res != 0 {
				t.Fatalf("round %d: %v", round, got)
			}
		}
	}
}

func TestWithdraw(t *testing.T) {
	r := newRing(t, 4, newFile(t, nil), -1)
	r.Nop(1)
	r.Nop(2)
	r.CancelAll()
	var back []uint64
	r.Withdraw(func(data uint64) { back = append(back, data) })
	if !slices.Equal(back, []uint64{1, 2}) || r.InFlight() != 0 {
		t.Errorf("withdrew %v, %d in flight", back, r.InFlight())
	}
	r.Nop(3)
	if got := results(t, r, 1); len(got) != 1 || got[3] != 0 {
		t.Errorf("%v", got)
	}
}

// TestCancelAll ends reads of a pipe that nobody writes to.
func TestCancelAll(t *testing.T) {
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pr.Close()
	defer pw.Close()
	r := newRing(t, 4, pr, -1)
	p := make([]byte, 8)
	r.Readv(1, vector(p), 0)
	r.Readv(2, vector(p), 0)
	submit(t, r, 0)
	time.Sleep(10 * time.Millisecond)
	if _, _, ok := r.Next(); ok {
		t.Fatal("a result of a read from an empty pipe")
	}
	r.CancelAll()
	for data, res := range results(t, r, 2) {
		if errno := unix.Errno(-res); errno != unix.ECANCELED && errno != unix.EINTR {
			t.Errorf("read %d: %d (%v)", data, res, errno)
		}
	}
	for r.InFlight() > 0 { // the cancel's own result
		submit(t, r, 1)
		if data, _, ok := r.Next(); ok {
			t.Errorf("a result for %d", data)
		}
	}
}

func TestEventFD(t *testing.T) {
	efd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(efd)
	take := func() uint64 {
		var b [8]byte
		if _, err := unix.Read(efd, b[:]); errors.Is(err, unix.EAGAIN) {
			return 0
		} else if err != nil {
			t.Fatal(err)
		}
		return binary.NativeEndian.Uint64(b[:])
	}
	r := newRing(t, 4, newFile(t, nil), efd)
	r.Nop(1)
	results(t, r, 1)
	if take() == 0 {
		t.Error("no signal for a result")
	}
	r.Quiet(true)
	r.Nop(2)
	submit(t, r, 1)
	if n := take(); n != 0 {
		t.Errorf("%d signals while quiet", n)
	}
	if !r.Ready() {
		t.Error("the result is not there")
	}
	results(t, r, 1)
	r.Quiet(false)
	if r.Ready() {
		t.Error("a result too many")
	}
	r.Nop(3)
	results(t, r, 1)
	if take() == 0 {
		t.Error("no signal once loud again")
	}
}

func TestRefused(t *testing.T) {
	for _, n := range []int{-1, 0, MaxEntries + 1} {
		if _, err := New(n, -1, -1); err == nil {
			t.Errorf("a ring of %d entries was made", n)
		}
	}
	if _, err := New(1, -1, 1<<20); !errors.Is(err, unix.EBADF) {
		t.Errorf("a descriptor that does not exist: %v", err)
	}
	before := openFiles(t)
	for range 20 {
		_, _ = New(1, -1, 1<<20)
		if err := Available(); err != nil {
			t.Fatal(err)
		}
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors open, %d before", after, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestNoAllocations(t *testing.T) {
	f := newFile(t, bytes.Repeat([]byte("gureum"), 1000))
	r := newRing(t, 8, f, -1)
	vec := vector(make([]byte, 512), make([]byte, 512))
	allocs := testing.AllocsPerRun(200, func() {
		for i := range uint64(8) {
			r.Readv(i, vec, int64(i)*100)
		}
		for n := 0; n < 8; {
			if _, res, ok := r.Next(); !ok {
				if err := r.Submit(1); err != nil {
					t.Fatal(err)
				}
			} else if res != 1024 {
				t.Fatal(res)
			} else {
				n++
			}
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
