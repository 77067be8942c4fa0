package rng

import (
	"testing"

	"github.com/gureum/gureum/virtio/queue"
)

// FuzzRequest gives the device chains of any shape: no more is written than the
// bound and the buffers allow, and all that is said to be written is.
func FuzzRequest(f *testing.F) {
	f.Add([]byte{64})
	f.Add([]byte{0, 1, 255, 3})
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, shape []byte) {
		var c queue.Chain
		for i, n := range shape {
			size := int(n) * (i%64*8 + 1)
			if size == 0 {
				continue
			}
			c.Writable = append(c.Writable, make([]byte, size))
			c.WriteLen += uint64(size)
		}
		w := &worker{source: func(b []byte) error {
			for i := range b {
				b[i] = 1
			}
			return nil
		}}
		written, err := w.handle(&c)
		if err != nil || uint64(written) != min(c.WriteLen, MaxRequest) {
			t.Fatalf("%d of %d bytes written, %v", written, c.WriteLen, err)
		}
		ones := uint32(0)
		for _, b := range c.Writable {
			for _, v := range b {
				ones += uint32(v)
			}
		}
		if ones != written {
			t.Fatalf("%d bytes were written, %d said", ones, written)
		}
	})
}
