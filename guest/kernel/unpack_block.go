package kernel

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/adler32"
	"hash/crc32"
	"io"

	"github.com/anchore/go-lzo"
	"github.com/pierrec/lz4/v4"
)

// byteReader buffers r: decoders that read bytes one by one want it.
func byteReader(r io.Reader) io.Reader { return bufio.NewReaderSize(r, 64<<10) }

const (
	lz4LegacyMagic = 0x184c2102
	lz4LegacyBlock = 8 << 20 // unpacked size of each block but the last
)

// unpackLZ4 decodes LZ4's legacy frame: the magic, then blocks with their packed
// size before them (lz4_Frame_format.md, "Legacy frame"; lib/decompress_unlz4.c).
// Blocks are decoded straight to where they belong.
func unpackLZ4(src, dst []byte) error {
	in := cursor{b: src}
	if in.u32le() != lz4LegacyMagic {
		return errors.New("no legacy frame")
	}
	filled := 0
	for !in.bad && len(in.b) > 0 {
		size := in.u32le()
		if size == lz4LegacyMagic {
			continue // frames may follow each other
		}
		block := in.take(uint64(size))
		if in.bad {
			break
		}
		room := dst[filled:min(len(dst), filled+lz4LegacyBlock)]
		n, err := lz4.UncompressBlock(block, room)
		if err != nil {
			return fmt.Errorf("block for byte %d: %w", filled, err)
		}
		filled += n
	}
	if in.bad {
		return fmt.Errorf("the stream is cut off after %d of %d bytes", filled, len(dst))
	}
	if filled != len(dst) {
		return fmt.Errorf("the stream ends after %d of %d bytes", filled, len(dst))
	}
	return nil
}

// The file format of lzop, as much of it as lib/decompress_unlzo.c reads.
const (
	lzopMagic        = "\x89LZO\x00\x0d\x0a\x1a\x0a"
	lzopVersionLevel = 0x0940 // from here on with needed version, level, high time
	lzopMaxBlock     = 64 << 20

	lzopAdlerOut = 1 << 0
	lzopAdlerIn  = 1 << 1
	lzopExtra    = 1 << 6
	lzopCRCOut   = 1 << 8
	lzopCRCIn    = 1 << 9
	lzopFilter   = 1 << 11
)

func unpackLZO(src, dst []byte) error {
	in := cursor{b: src}
	flags, err := lzopHeader(&in)
	if err != nil {
		return err
	}
	filled := 0
	for {
		size := uint64(in.u32be())
		if !in.bad && size == 0 {
			break
		}
		packed := uint64(in.u32be())
		if in.bad || size > lzopMaxBlock || packed > size || size > uint64(len(dst)-filled) {
			return fmt.Errorf("bad block for byte %d: %d bytes of %d packed", filled, size, packed)
		}
		if err := lzopBlock(&in, dst[filled:filled+int(size)], packed, flags); err != nil {
			return fmt.Errorf("block for byte %d: %w", filled, err)
		}
		filled += int(size)
	}
	if filled != len(dst) {
		return fmt.Errorf("the stream ends after %d of %d bytes", filled, len(dst))
	}
	return nil
}

// lzopHeader passes over the file's header and returns its flags.
func lzopHeader(in *cursor) (flags uint32, err error) {
	if string(in.take(uint64(len(lzopMagic)))) != lzopMagic {
		return 0, errors.New("no lzop header")
	}
	version := in.u16be()
	in.take(2) // library
	if version >= lzopVersionLevel {
		in.take(2) // version needed
	}
	in.take(1) // method: the decoder reads what each of them writes
	if version >= lzopVersionLevel {
		in.take(1) // level
	}
	flags = in.u32be()
	if flags&lzopFilter != 0 {
		in.take(4)
	}
	in.take(8) // mode, time
	if version >= lzopVersionLevel {
		in.take(4)
	}
	in.take(uint64(in.u8())) // name
	in.take(4)               // sum of the header
	if flags&lzopExtra != 0 {
		in.take(uint64(in.u32be()) + 4)
	}
	if in.bad {
		return 0, errors.New("the header is cut off")
	}
	return flags, nil
}

func lzopBlock(in *cursor, dst []byte, packed uint64, flags uint32) error {
	var adler, crc uint32
	if flags&lzopAdlerOut != 0 {
		adler = in.u32be()
	}
	if flags&lzopCRCOut != 0 {
		crc = in.u32be()
	}
	if packed < uint64(len(dst)) { // sums of what is packed; the others do for both
		for _, flag := range [...]uint32{lzopAdlerIn, lzopCRCIn} {
			if flags&flag != 0 {
				in.take(4)
			}
		}
	}
	data := in.take(packed)
	if in.bad {
		return errors.New("cut off")
	}
	if packed == uint64(len(dst)) {
		copy(dst, data)
	} else if n, err := lzo.Decompress(data, dst); err != nil || n != len(dst) {
		return fmt.Errorf("%d of %d bytes: %w", n, len(dst), errors.Join(err))
	}
	if flags&lzopAdlerOut != 0 && adler32.Checksum(dst) != adler || flags&lzopCRCOut != 0 && crc32.ChecksumIEEE(dst) != crc {
		return errors.New("checksum differs")
	}
	return nil
}

// cursor reads a buffer from front to back. Once it runs out it is bad, and
// gives zeros.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.bad, c.b = true, nil
		return nil
	}
	p := c.b[:n]
	c.b = c.b[n:]
	return p
}

func (c *cursor) u8() uint8 {
	if p := c.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (c *cursor) u16be() uint16 {
	if p := c.take(2); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

func (c *cursor) u32be() uint32 {
	if p := c.take(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

func (c *cursor) u32le() uint32 {
	if p := c.take(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}
