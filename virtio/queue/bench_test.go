package queue

import (
	"fmt"
	"testing"
)

// BenchmarkRequest is what a block request of three descriptors costs in the queue
// alone: the driver's side is one store of the index for a whole batch.
func BenchmarkRequest(b *testing.B) {
	for _, indirect := range []bool{false, true} {
		for _, batch := range []uint16{1, 32} {
			b.Run(fmt.Sprintf("indirect=%v/batch=%d", indirect, batch), func(b *testing.B) {
				benchmarkRequest(b, indirect, batch)
			})
		}
	}
}

func benchmarkRequest(b *testing.B, indirect bool, batch uint16) {
	d, q := newDriver(b, Config{Size: 256, EventIdx: true, Indirect: indirect})
	parts := []descriptor{
		{addr: testBuffers, size: 16},
		{addr: testBuffers + 4096, size: 4096, flags: flagWrite},
		{addr: testBuffers + 32, size: 1, flags: flagWrite},
	}
	for i := range batch {
		d.chain(4*i, parts...)
		if indirect {
			copy(d.mem[testBuffers+0x8000:], d.desc[4*int(i)*descSize:][:3*descSize])
			for k := range 2 {
				d.mem[testBuffers+0x8000+k*descSize+14] = byte(k + 1)
				d.mem[testBuffers+0x8000+k*descSize+15] = 0
			}
			putDesc(d.desc, 4*i, descriptor{addr: testBuffers + 0x8000, size: 3 * descSize, flags: flagIndirect})
		}
	}
	for i := range d.size {
		ring := d.avail[availHead+2*int(i):]
		ring[0] = byte(4 * (i % batch))
	}
	var c Chain
	handle := func(c *Chain) (uint32, error) { return uint32(c.WriteLen), nil }
	b.ReportAllocs()
	for n := 0; n < b.N; n += int(batch) {
		d.availIdx += batch
		store16(d.avail[2:], d.availIdx)
		if err := q.Drain(&c, handle); err != nil {
			b.Fatal(err)
		}
	}
}
