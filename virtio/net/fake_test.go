package net

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/gureum/gureum/virtio/virtiotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errRefused = errors.New("refused")

// fake is a Backend of a test. Frames that it holds for the guest and has got from
// it include the header.
type fake struct {
	pairs    int
	offloads uint32

	mu       sync.Mutex
	cond     sync.Cond
	rx       [][][]byte // frames for the guest, by pair
	tx       [][]byte
	woken    []int // by 2*pair+direction
	full     bool  // Writev has no room
	fail     error // of Readv and Writev
	reads    int   // calls of Readv that gave a frame
	parts    []int // slices in each of them
	active   int
	set      uint32
	filter   Filter
	carrier  bool
	closed   bool
	discard  bool // sent frames are not kept
	repeat   []byte
	repeated int // how often Readv gives repeat
}

func newFake(pairs int) *fake {
	f := &fake{
		pairs: pairs, offloads: 0x7f, rx: make([][][]byte, pairs), woken: make([]int, 2*pairs), carrier: true,
	}
	f.cond.L = &f.mu
	return f
}

func (f *fake) Pairs() int       { return f.pairs }
func (f *fake) Offloads() uint32 { return f.offloads }

func (f *fake) SetOffloads(o uint32) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set = o
	return nil
}

func (f *fake) SetPairs(n int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active = n
	return nil
}

func (f *fake) SetFilter(filter Filter) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.filter = filter
	return nil
}

func (f *fake) SetCarrier(up bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.carrier = up
	return nil
}

func (f *fake) Readv(pair int, iov [][]byte, wait bool) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		switch {
		case f.fail != nil:
			return 0, f.fail
		case f.repeated > 0:
			f.repeated--
			f.reads++
			f.parts = append(f.parts[:0], len(iov))
			return spread(iov, f.repeat), nil
		case len(f.rx[pair]) > 0:
			frame := f.rx[pair][0]
			f.rx[pair] = f.rx[pair][1:]
			f.reads++
			f.parts = append(f.parts, len(iov))
			return spread(iov, frame), nil
		case !wait || f.used(2*pair):
			return 0, nil
		}
		f.cond.Wait()
	}
}

// spread copies a frame but for num_buffers, which a backend does not write.
func spread(iov [][]byte, frame []byte) int {
	n := 0
	for _, b := range iov {
		for i := range b {
			if n == len(frame) {
				return n
			}
			if n != 10 && n != 11 {
				b[i] = frame[n]
			}
			n++
		}
	}
	return n
}

func (f *fake) used(i int) bool {
	if f.woken[i] == 0 {
		return false
	}
	f.woken[i] = 0
	return true
}

func (f *fake) Writev(pair int, iov [][]byte, wait bool) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.full {
		if !wait || f.used(2*pair+1) {
			return 0, nil
		}
		f.cond.Wait()
	}
	if f.fail != nil {
		return 0, f.fail
	}
	n := 0
	for _, b := range iov {
		n += len(b)
	}
	if !f.discard {
		f.tx = append(f.tx, bytes.Join(iov, nil))
	}
	return n, nil
}

func (f *fake) Wake(pair int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.woken[2*pair]++
	f.woken[2*pair+1]++
	f.cond.Broadcast()
}

func (f *fake) Close() error {
	f.closed = true
	return nil
}

// do changes the fake under its lock.
func (f *fake) do(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	f.cond.Broadcast()
}

func (f *fake) arrive(pair int, frames ...[]byte) {
	f.do(func() { f.rx[pair] = append(f.rx[pair], frames...) })
}

func (f *fake) sent() [][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tx
}

// look reads a field of the fake.
func look[T any](f *fake, field *T) T {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *field
}

var testMAC = [6]byte{2, 0, 0, 0, 0, 1}

// mustNew makes a device on a fake and its driver.
func mustNew(t testing.TB, f *fake, change func(*Config)) (*Device, *virtiotest.Driver) {
	t.Helper()
	cfg := Config{Backend: f, MAC: testMAC, MTU: 1400, Vhost: VhostOff}
	if change != nil {
		change(&cfg)
	}
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d, virtiotest.New(t, d)
}

// without are all features but some.
func without(bits ...uint) uint64 {
	f := virtiotest.AllFeatures
	for _, b := range bits {
		f &^= 1 << b
	}
	return f
}

// frame is a header of zeros and n bytes.
func frame(n int, seed byte) []byte {
	f := make([]byte, HeaderSize+n)
	for i := range n {
		f[HeaderSize+i] = seed + byte(i) + byte(i>>8)
	}
	return f
}

// received joins the chains of a frame and checks num_buffers.
func received(t testing.TB, want int, parts ...[]byte) []byte {
	t.Helper()
	all := bytes.Join(parts, nil)
	if n := int(all[10]) | int(all[11])<<8; n != want {
		t.Errorf("num_buffers is %d, want %d", n, want)
	}
	return all
}
