package agent

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// frameReader cuts a byte stream into frames. Its memory is one payload at
// most, allocated as large as the frames that really come.
type frameReader struct {
	br      *bufio.Reader
	payload []byte
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{br: bufio.NewReaderSize(r, 4096)}
}

// next returns one frame. The payload is valid until the next call.
func (f *frameReader) next() (header, []byte, error) {
	var raw [headerSize]byte
	if _, err := io.ReadFull(f.br, raw[:]); err != nil {
		return header{}, nil, err
	}
	h, err := parseHeader(raw[:])
	if err != nil {
		return h, nil, err
	}
	n := int(h.length)
	if n > cap(f.payload) {
		f.payload = make([]byte, max(n, 1024))
	}
	p := f.payload[:n]
	if _, err := io.ReadFull(f.br, p); err != nil {
		return h, nil, noEOF(err)
	}
	return h, p, nil
}

// skip drops bytes that were peeked at, which cannot fail.
func (f *frameReader) skip(n int) { _, _ = f.br.Discard(n) }

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// sync skips whatever is on the stream up to a hello of type t and returns it.
func (f *frameReader) sync(t frameType) (hello, error) {
	mark := hello{}.frame(t)[:headerSize+len(helloMagic)]
	for {
		// At least this much must come before a hello can be there, so
		// waiting for it never waits too long.
		if _, err := f.br.Peek(len(mark)); err != nil {
			return hello{}, err
		}
		have, _ := f.br.Peek(f.br.Buffered())
		at := bytes.Index(have, mark)
		if at < 0 {
			f.skip(len(have) - len(mark) + 1)
			continue
		}
		f.skip(at)
		raw, err := f.br.Peek(headerSize + helloPayload)
		if err != nil {
			return hello{}, noEOF(err)
		}
		h, err := parseHello(raw[headerSize:])
		if err != nil {
			f.skip(1)
			continue
		}
		f.skip(headerSize + helloPayload)
		return h, nil
	}
}
