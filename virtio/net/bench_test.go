package net

import (
	"runtime"
	"testing"

	"github.com/gureum/gureum/virtio/virtiotest"
)

// null takes all frames and has as many as are wanted, without touching a byte: what
// is left is the device's own cost.
type null struct {
	*fake
	size int
}

func (n *null) Readv(int, [][]byte, bool) (int, error)  { return n.size, nil }
func (n *null) Writev(int, [][]byte, bool) (int, error) { return 1, nil }

// BenchmarkSend is one frame of 64 KiB in 17 parts.
func BenchmarkSend(b *testing.B) {
	dev, err := New(Config{Backend: &null{newFake(1), 0}, MAC: testMAC, Vhost: VhostOff})
	if err != nil {
		b.Fatal(err)
	}
	d := virtiotest.New(b, dev)
	d.Start(virtiotest.AllFeatures)
	q := d.Queue(1)
	gpa, _ := d.Alloc(1 << 17)
	for i := range uint16(17) {
		desc := virtiotest.Descriptor{Addr: gpa + uint64(i)*4096, Len: 3850, Flags: virtiotest.FlagNext, Next: i + 1}
		if i == 16 {
			desc.Flags = 0
		}
		q.WriteDesc(i, desc)
	}
	b.ReportAllocs()
	var n uint16
	for b.Loop() {
		q.Publish(0)
		q.Kick()
		n++
		for q.UsedIndex() != n {
			runtime.Gosched()
		}
	}
}

// BenchmarkReceive is one frame of 64 KiB in 43 buffers, whose chains the driver
// puts out again at once.
func BenchmarkReceive(b *testing.B) {
	dev, err := New(Config{Backend: &null{newFake(1), 64000}, MAC: testMAC, Vhost: VhostOff})
	if err != nil {
		b.Fatal(err)
	}
	d := virtiotest.New(b, dev)
	d.Start(virtiotest.AllFeatures)
	q := d.Queue(0)
	gpa, _ := d.Alloc(256 * 1536)
	for i := range uint16(256) {
		q.WriteDesc(i, virtiotest.Descriptor{Addr: gpa + uint64(i)*1536, Len: 1536, Flags: virtiotest.FlagWrite})
	}
	const perFrame = (64000 + 1535) / 1536
	b.ReportAllocs()
	var n, next uint16
	for b.Loop() {
		for range perFrame {
			q.Publish(next % 256)
			next++
		}
		q.Kick()
		n += perFrame
		for q.UsedIndex()-n > 1<<15 {
			runtime.Gosched()
		}
	}
}
