package lab

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// Kinds of frames between the lab and its agent in L1.
const (
	frameCommand = iota + 1 // to L1: the command, as JSON
	frameStdin              // to L1: bytes; none means end of input
	frameSignal             // to L1: one byte, the signal's number
	frameResize             // to L1: rows and columns, 16 bits each
	frameStdout             // from L1
	frameStderr             // from L1
	frameExit               // from L1: 32 bits, the exit status
	frameError              // from L1: text, the command could not start
)

const maxFrame = 64 << 10

// wire reads and writes frames: kind, 32-bit length, payload.
type wire struct {
	mu sync.Mutex
	rw io.ReadWriter
}

func (w *wire) send(kind byte, payload []byte) error {
	head := make([]byte, 5, 5+len(payload))
	head[0] = kind
	binary.LittleEndian.PutUint32(head[1:], uint32(len(payload)))
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.rw.Write(append(head, payload...))
	return err
}

func (w *wire) receive() (kind byte, payload []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(w.rw, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.LittleEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, fmt.Errorf("frame of %d bytes: the agent's stream is damaged", n)
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(w.rw, payload)
	return head[0], payload, err
}

// writer sends what is written to it as frames of one kind.
func (w *wire) writer(kind byte) io.Writer { return frameWriter{w, kind} }

type frameWriter struct {
	w    *wire
	kind byte
}

func (f frameWriter) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n := min(len(p)-done, maxFrame)
		if err := f.w.send(f.kind, p[done:done+n]); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}
