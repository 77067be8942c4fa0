package pmem

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/queue"
	"github.com/gureum/gureum/virtio/virtiotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newDevice(t testing.TB, c Config) *Device {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 5<<20+100), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	c.File, c.Size, c.Release = f, 5<<20+100, f.Close
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var flush = []byte{0, 0, 0, 0}

func answer(r *virtiotest.Request) uint32 { return binary.LittleEndian.Uint32(r.AllWritable()) }

func TestFlush(t *testing.T) {
	var fail atomic.Bool
	dev := newDevice(t, Config{GPA: 4 << 30, Sync: func() error {
		if fail.Load() {
			return errors.New("no space")
		}
		return nil
	}})
	d := virtiotest.New(t, dev)
	var config [20]byte
	d.Core.ReadConfig(0, config[:])
	if binary.LittleEndian.Uint64(config[:]) != 4<<30 || binary.LittleEndian.Uint64(config[8:]) != 6<<20 {
		t.Errorf("start and size are %x", config)
	}
	if dev.mapping.base()%Align != 0 {
		t.Errorf("mapped at %#x", dev.mapping.base())
	}
	d.Start(virtiotest.AllFeatures)
	q := d.Queue(0)
	if r, n := q.Do([][]byte{flush}, 4); n != 4 || answer(r) != 0 {
		t.Errorf("flush: %d bytes, %x", n, r.AllWritable())
	}
	for _, wrong := range [][]byte{{1, 0, 0, 0}, {0, 0}} {
		if r, n := q.Do([][]byte{wrong}, 4); n != 4 || answer(r) != answerFailed {
			t.Errorf("% x: %d bytes, %x", wrong, n, r.AllWritable())
		}
	}
	fail.Store(true)
	if r, _ := q.Do([][]byte{flush}, 4); answer(r) != answerFailed {
		t.Errorf("a flush that failed: %x", r.AllWritable())
	}
	q.Submit([][]byte{flush}, 3)
	q.Kick()
	d.Eventually("a request without room breaks the queue", func() bool { return d.Core.Status()&virtio.StatusNeedsReset != 0 })
}

// TestFlushesShareOneSync has requests that come during a synchronisation wait for
// the next, and all of them share it.
func TestFlushesShareOneSync(t *testing.T) {
	var syncs atomic.Int32
	begun, goOn := make(chan struct{}, 10), make(chan struct{})
	dev := newDevice(t, Config{Sync: func() error {
		syncs.Add(1)
		begun <- struct{}{}
		<-goOn
		return nil
	}})
	d := virtiotest.New(t, dev)
	d.Start(virtiotest.AllFeatures)
	q := d.Queue(0)
	first := q.Submit([][]byte{flush}, 4)
	q.Kick()
	<-begun
	var last *virtiotest.Request
	for range 10 {
		last = q.Submit([][]byte{flush}, 4)
	}
	q.Kick()
	time.Sleep(time.Millisecond)
	if q.Done(first) {
		t.Error("answered before the file was synchronised")
	}
	close(goOn)
	q.Wait(last)
	if n := syncs.Load(); n != 2 {
		t.Errorf("%d synchronisations for 11 requests, want 2", n)
	}
}

func TestReadOnlyNeedsNoSync(t *testing.T) {
	dev := newDevice(t, Config{ReadOnly: true, Sync: func() error { return errors.New("read-only") }})
	d := virtiotest.New(t, dev)
	d.Start(virtiotest.AllFeatures)
	if r, _ := d.Queue(0).Do([][]byte{flush}, 4); answer(r) != 0 {
		t.Errorf("%x", r.AllWritable())
	}
}

func TestNewRefuses(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, c := range []Config{{File: f}, {File: f, Size: 1, GPA: 4096}, {File: f, Size: 1 << 50}, {File: f, Size: 4096}} {
		if _, err := New(c); err == nil {
			t.Errorf("%d bytes at %#x are taken", c.Size, c.GPA)
		}
	}
}

func TestHostileDriver(t *testing.T) {
	for seed := range uint64(4) {
		virtiotest.Hammer(t, func() virtio.Device {
			return newDevice(t, Config{Sync: func() error { return nil }})
		}, 5000, seed, flush)
	}
}

// FuzzRequest gives the parser chains of any shape.
func FuzzRequest(f *testing.F) {
	f.Add(flush, uint16(4), uint16(0))
	f.Add([]byte{9}, uint16(2), uint16(2))
	f.Fuzz(func(t *testing.T, readable []byte, a, b uint16) {
		c := queue.Chain{Readable: [][]byte{readable}, ReadLen: uint64(len(readable))}
		for _, n := range []uint16{a, b} {
			if n > 0 {
				c.Writable = append(c.Writable, make([]byte, n))
				c.WriteLen += uint64(n)
			}
		}
		r, ok := parse(&c)
		if ok && len(r.answer) != answerSize {
			t.Errorf("an answer of %d bytes", len(r.answer))
		}
		if r.good && (len(readable) < 4 || binary.LittleEndian.Uint32(readable) != requestFlush) {
			t.Errorf("% x is taken for a flush", readable)
		}
	})
}
