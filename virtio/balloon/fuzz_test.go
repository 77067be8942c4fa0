package balloon

import (
	"testing"

	"github.com/gureum/gureum/virtio/queue"
	"github.com/gureum/gureum/virtio/virtiotest"
)

// FuzzRequest takes bytes for page numbers and for statistics. Nothing but RAM is
// discarded, and what is counted is no more than was asked for.
func FuzzRequest(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 2, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF}, uint16(3))
	f.Add(append(entry(FreeMemory, 1), entry(77, 2)...), uint16(0))
	dev, err := New(Config{})
	if err != nil {
		f.Fatal(err)
	}
	d := virtiotest.New(f, dev)
	r := &running{device: dev, memory: d.Memory, fresh: make(chan struct{})}
	i := newInflater(r)
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		at := min(int(cut), len(b))
		c := queue.Chain{Readable: [][]byte{b[:at], b[at:]}, ReadLen: uint64(len(b))}
		before, _ := dev.Returned()
		if n, err := i.handle(&c); n != 0 || err != nil {
			t.Fatal(n, err)
		}
		after, _ := dev.Returned()
		if after-before > uint64(len(b)/4)*PageSize {
			t.Fatalf("%d bytes for %d bytes of page numbers", after-before, len(b))
		}
		var buf [statSize * maxEntries]byte
		s := parseStats(&c, buf[:])
		for which := range s.All {
			if which >= numStats {
				t.Fatal(which)
			}
		}
	})
}
