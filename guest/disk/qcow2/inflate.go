package qcow2

import (
	"bytes"
	"compress/flate"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// inflateSlots is how many compressed clusters can be unpacked at once, and are kept.
const inflateSlots = 4

// maxZstdWindow bounds the memory that a frame may ask for. QEMU's own ask for no more
// than a cluster.
const maxZstdWindow = 8 << 20

// inflateSlot keeps one unpacked cluster, since guests read one piece by piece, and what
// unpacks it.
type inflateSlot struct {
	mu     sync.Mutex
	entry  uint64 // the L2 entry that plain was unpacked from
	valid  bool
	plain  []byte
	packed []byte
	source bytes.Reader
	flate  io.ReadCloser
	zstd   *zstd.Decoder
}

// packedRange gives where a compressed cluster's bytes lie: whole 512-byte sectors, of
// which the last ones may be unused (specification, "Compressed Clusters Descriptor").
func (d *Image) packedRange(entry uint64) (off, n int64) {
	bits := 62 - (d.clusterBits - 8)
	off = int64(entry & (1<<bits - 1))
	sectors := int64(entry &^ (entryCopied | entryCompressed) >> bits)
	return off, (sectors+1)*512 - off&511
}

// readCompressed fills p from at bytes into the compressed cluster. It is called with io
// held to read, so that the cluster stays.
func (d *Image) readCompressed(entry uint64, p []byte, at int64) error {
	off, _ := d.packedRange(entry)
	s := &d.inflated[off>>9%inflateSlots]
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.valid || s.entry != entry {
		s.valid = false
		if err := d.inflate(s, entry); err != nil {
			return err
		}
		s.entry, s.valid = entry, true
	}
	copy(p, s.plain[at:])
	return nil
}

func (d *Image) inflate(s *inflateSlot, entry uint64) error {
	off, n := d.packedRange(entry)
	if off>>d.clusterBits >= d.end.Load() {
		return corrupt("compressed cluster at %#x lies past the end of the file", off)
	}
	if s.plain == nil {
		s.plain = make([]byte, d.clusterSize)
		s.packed = make([]byte, 2*d.clusterSize)
	}
	packed := s.packed[:n]
	if err := readFull(d.store, packed, off); err != nil {
		return err
	}
	s.source.Reset(packed)
	r, err := s.unpacker(d.compression)
	if err != nil {
		return err
	}
	// A frame's end is not looked for: what follows in its last sector is unused.
	if _, err := io.ReadFull(r, s.plain); err != nil {
		return corrupt("compressed cluster at %#x: %v", off, err)
	}
	return nil
}

func (s *inflateSlot) unpacker(compression uint8) (io.Reader, error) {
	if compression == compressionZstd {
		if s.zstd == nil {
			dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
			if err != nil {
				return nil, err
			}
			s.zstd = dec
		}
		return s.zstd, s.zstd.Reset(&s.source)
	}
	if s.flate == nil {
		s.flate = flate.NewReader(&s.source)
		return s.flate, nil
	}
	return s.flate, s.flate.(flate.Resetter).Reset(&s.source, nil)
}

// forget makes all slots unpack anew. It is called with io held to write.
func (d *Image) forget() {
	for i := range d.inflated {
		d.inflated[i].valid = false
	}
}
