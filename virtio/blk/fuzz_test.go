package blk

import (
	"bytes"
	"testing"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/queue"
	"github.com/gureum/gureum/virtio/virtiotest"
)

// FuzzRequest parses what a guest may write, cut into buffers anyhow, and holds the
// rules: what is carried out lies within the disk.
func FuzzRequest(f *testing.F) {
	f.Add(header(typeIn, 3), uint32(4097), uint8(0), uint8(3))
	f.Add(append(header(typeOut, 3), make([]byte, 1024)...), uint32(1), uint8(7), uint8(3))
	f.Add(append(header(typeOut, 1<<55-1), make([]byte, 512)...), uint32(1), uint8(0), uint8(3))
	f.Add(header(typeFlush, 0), uint32(1), uint8(16), uint8(2))
	f.Add(header(typeGetID, 0), uint32(21), uint8(0), uint8(0))
	f.Add(append(header(typeDiscard, 0), append(rangeOf(8, 8, 0), rangeOf(1<<63, 1<<31, 0)...)...), uint32(1), uint8(9), uint8(3))
	f.Add(append(header(typeWriteZeroes, 0), rangeOf(2047, 1, 1)...), uint32(1), uint8(1), uint8(3))
	f.Add(append(header(typeWriteZeroes, 0), rangeOf(0, 8, 1)...), uint32(1), uint8(1), uint8(7))
	f.Fuzz(func(t *testing.T, readable []byte, writable uint32, cut, lims uint8) {
		lim := limits{
			capacity: mib, discard: lims&1 != 0, zeroes: lims&2 != 0, readOnly: lims&4 != 0,
		}
		writable = max(writable&0xF_FFFF, 1)
		chain := queue.Chain{ReadLen: uint64(len(readable)), WriteLen: uint64(writable)}
		for rest := readable; len(rest) > 0; {
			n := min(int(cut)+1, len(rest))
			chain.Readable = append(chain.Readable, rest[:n])
			rest = rest[n:]
		}
		before := bytes.Clone(readable)
		var c command
		c.parse(&chain, lim)
		checkCommand(t, &c, lim, int64(len(readable)), int64(writable))
		if !bytes.Equal(before, readable) {
			t.Error("parsing changed the request")
		}
	})
}

func checkCommand(t *testing.T, c *command, lim limits, readable, writable int64) {
	inside := func(offset, size int64) bool {
		return offset >= 0 && size >= 0 && offset <= mib && size <= mib-offset && offset%SectorSize == 0 && size%SectorSize == 0
	}
	switch c.op {
	case opRead:
		if !inside(c.offset, c.size) || c.size != writable-1 {
			t.Errorf("read of %d bytes at %d, room for %d", c.size, c.offset, writable-1)
		}
	case opWrite:
		if !inside(c.offset, c.size) || c.size != readable-headerSize || lim.readOnly {
			t.Errorf("write of %d bytes at %d, there are %d", c.size, c.offset, readable-headerSize)
		}
	case opDiscard, opWriteZeroes:
		if len(c.ranges) == 0 || len(c.ranges) > maxRangeSegments || lim.readOnly {
			t.Errorf("%d ranges", len(c.ranges))
		}
		for _, s := range c.ranges {
			if !inside(s.offset, s.size) || s.unmap && c.op == opDiscard {
				t.Errorf("%v of %+v", c.op, s)
			}
		}
	case opRefused:
		if c.status != statusIOErr && c.status != statusUnsupported {
			t.Errorf("refused with status %d", c.status)
		}
	}
}

// TestHammer is a driver that keeps no rule, on each kind of disk.
func TestHammer(t *testing.T) {
	seeds := [][]byte{
		header(typeIn, 1), append(header(typeOut, 2), make([]byte, 512)...), header(typeFlush, 0), header(typeGetID, 0),
		append(header(typeDiscard, 0), rangeOf(8, 8, 0)...), append(header(typeWriteZeroes, 0), rangeOf(8, 8, 1)...),
	}
	eachKind(t, pattern(mib), func(t *testing.T, cfg Config, now func() []byte) {
		cfg.Queues = 2
		virtiotest.Hammer(t, func() virtio.Device {
			d, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			return d
		}, 20_000, 7, seeds...)
		if n := len(now()); n != mib {
			t.Errorf("the disk has %d bytes", n)
		}
	})
}
