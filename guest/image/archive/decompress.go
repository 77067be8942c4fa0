package archive

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"
)

// Decoders take at most this much memory for their window: what zstd --long=27 and xz -9
// need.
const maxWindow = 128 << 20

// Decompress gives what is inside r, which may be compressed by gzip, zstd, xz or bzip2,
// or not at all. The caller reads all it wants and then calls close.
func Decompress(r io.Reader) (plain io.Reader, closePlain func(), err error) {
	b := bufio.NewReaderSize(r, 256<<10)
	head, err := b.Peek(6)
	if err != nil && len(head) == 0 {
		return nil, nil, fmt.Errorf("%w: it is empty: %w", ErrFormat, err)
	}
	nothing := func() {}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrFormat, err)
		}
		return z, nothing, nil
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrFormat, err)
		}
		return z, z.Close, nil
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		z, err := xz.NewReader(b, maxWindow)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrFormat, err)
		}
		return z, nothing, nil
	case bytes.HasPrefix(head, []byte("BZh")):
		return bzip2.NewReader(b), nothing, nil
	}
	return b, nothing, nil
}
