package kernel

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
	"github.com/ulikunitz/xz/lzma"
)

// Compression is how the kernel inside of a file is packed.
type Compression uint8

// The compressions that Linux knows for x86 (arch/x86/Kconfig, KERNEL_*).
const (
	Uncompressed Compression = iota
	Gzip
	Bzip2
	LZMA
	XZ
	LZO
	LZ4
	Zstd
	UnknownCompression
)

func (c Compression) String() string {
	names := [...]string{"none", "gzip", "bzip2", "lzma", "xz", "lzo", "lz4", "zstd"}
	if int(c) < len(names) {
		return names[c]
	}
	return "unknown"
}

const (
	// maxUnpacked bounds a kernel out of a compressed file.
	maxUnpacked = 1 << 30
	// maxPayload bounds a compressed kernel.
	maxPayload = 256 << 20
	// maxDictionary bounds what a file can make a decoder allocate. The kernel's
	// scripts/xz_wrap.sh and `zstd -22 --ultra` use up to 128 MiB.
	maxDictionary = 128 << 20
	// sizeBytes is the little-endian size of the unpacked kernel that the kernel's
	// build puts behind the payload (scripts/Makefile.lib, size_append). Gzip's
	// own last field is the same.
	sizeBytes = 4
)

// errUnsupported marks a payload that may be sound but is not for our decoders.
var errUnsupported = errors.New("not supported")

// detect names the compression of a payload by its first bytes
// (lib/decompress.c; the LZ4 magic is that of the legacy frame).
func detect(b []byte) Compression {
	for _, m := range [...]struct {
		magic string
		c     Compression
	}{
		{"\x1f\x8b", Gzip},
		{"\x1f\x9e", Gzip},
		{"BZh", Bzip2},
		{"\x5d\x00", LZMA},
		{"\xfd7zXZ\x00", XZ},
		{"\x89LZO", LZO},
		{"\x02\x21\x4c\x18", LZ4},
		{"\x28\xb5\x2f\xfd", Zstd},
		{"\x7fELF", Uncompressed},
	} {
		if bytes.HasPrefix(b, []byte(m.magic)) {
			return m.c
		}
	}
	return UnknownCompression
}

// payloadStream splits a payload into the packed stream and the size of what it
// unpacks to.
func payloadStream(c Compression, payload []byte) (stream []byte, size uint64, err error) {
	if c == Uncompressed {
		return payload, uint64(len(payload)), nil
	}
	if len(payload) <= sizeBytes {
		return nil, 0, fmt.Errorf("corrupt payload: %d bytes", len(payload))
	}
	cut := len(payload) - sizeBytes
	size = uint64(binary.LittleEndian.Uint32(payload[cut:]))
	if c == Gzip {
		cut = len(payload) // the field is part of the stream
	}
	return payload[:cut], size, nil
}

// unpack decodes src, which must fill dst exactly. It never writes beyond dst,
// holds no more than a dictionary besides, and ends in time linear in len(src)
// and len(dst).
func unpack(c Compression, src, dst []byte) (err error) {
	defer func() {
		// The decoders are others' code at work on a stranger's bytes: a panic
		// there is this file's fault, and no reason to take the program down.
		if p := recover(); p != nil {
			err = fmt.Errorf("%s decoder: %v", c, p)
		}
		if err != nil {
			err = fmt.Errorf("unpack %s payload: %w", c, err)
		}
	}()
	switch c {
	case Uncompressed:
		return fill(dst, bytes.NewReader(src))
	case Gzip:
		return unpackGzip(src, dst)
	case Bzip2:
		return fill(dst, bzip2.NewReader(bytes.NewReader(src)))
	case LZMA:
		return unpackLZMA(src, dst)
	case XZ:
		return unpackXZ(src, dst)
	case LZO:
		return unpackLZO(src, dst)
	case LZ4:
		return unpackLZ4(src, dst)
	case Zstd:
		return unpackZstd(src, dst)
	default:
		return errUnsupported
	}
}

// fill reads exactly len(dst) bytes, and then the stream's end, which is where
// decoders check their sums.
func fill(dst []byte, r io.Reader) error {
	n, err := io.ReadFull(r, dst)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("the stream ends after %d of %d bytes", n, len(dst))
	}
	if err != nil {
		return err
	}
	var more [1]byte
	switch _, err := io.ReadFull(r, more[:]); err {
	case io.EOF:
		return nil
	case nil:
		return fmt.Errorf("more than the %d bytes that it states", len(dst))
	default:
		return err
	}
}

func unpackGzip(src, dst []byte) error {
	r, err := gzip.NewReader(bytes.NewReader(src))
	if err != nil {
		return err
	}
	r.Multistream(false)
	return fill(dst, r)
}

// unpackLZMA decodes the format of `xz --format=lzma`: properties, dictionary
// size, unpacked size or -1, then the stream.
func unpackLZMA(src, dst []byte) error {
	if len(src) < lzma.HeaderLen {
		return io.ErrUnexpectedEOF
	}
	// No match reaches back beyond the start of the output, so that a dictionary
	// of its size will do; xz -9 states 64 MiB whatever it packs.
	head := bytes.Clone(src[:lzma.HeaderLen])
	dict := min(binary.LittleEndian.Uint32(head[1:]), uint32(max(len(dst), lzma.MinDictCap)))
	binary.LittleEndian.PutUint32(head[1:], dict)
	in := io.MultiReader(bytes.NewReader(head), bytes.NewReader(src[lzma.HeaderLen:]))
	r, err := lzma.ReaderConfig{DictCap: maxUnpacked}.NewReader(byteReader(in))
	if err != nil {
		return err
	}
	return fill(dst, r)
}

func unpackXZ(src, dst []byte) error {
	r, err := xz.NewReader(bytes.NewReader(src), maxDictionary)
	if err == nil {
		r.Multistream(false)
		err = fill(dst, r)
	}
	if errors.Is(err, xz.ErrOptions) || errors.Is(err, xz.ErrMemlimit) || errors.Is(err, xz.ErrUnsupportedCheck) {
		return fmt.Errorf("%w: %w", errUnsupported, err)
	}
	return err
}

// unpackZstd decodes into dst itself, which serves as the window, however large
// a one the stream asks for.
func unpackZstd(src, dst []byte) error {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxDictionary), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return err
	}
	defer d.Close()
	out, err := d.DecodeAll(src, dst[:0:len(dst)])
	switch {
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrUnknownDictionary):
		return fmt.Errorf("%w: %w", errUnsupported, err)
	case err != nil:
		return err
	case len(out) != len(dst):
		return fmt.Errorf("the stream ends after %d of %d bytes", len(out), len(dst))
	}
	return nil
}
