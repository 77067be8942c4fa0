package qcow2

import (
	"io"
	"sync"
)

// memory is a Storage in memory. It can keep a record of what was done to it.
type memory struct {
	mu     sync.Mutex
	data   []byte
	record bool
	device bool // a length of its own, and anything in what was never written
	ops    []op
	fail   func(o op) error // asked before each change
}

// op is one change of a file, or a barrier.
type op struct {
	kind opKind
	off  int64
	n    int64
	data []byte
}

type opKind uint8

const (
	opWrite opKind = iota
	opTruncate
	opZero
	opSync
)

func (m *memory) do(o op) error {
	if m.fail != nil {
		if err := m.fail(o); err != nil {
			return err
		}
	}
	if m.record {
		o.data = append([]byte(nil), o.data...)
		m.ops = append(m.ops, o)
	}
	m.apply(o)
	return nil
}

// maxMemory bounds the file, so that a fuzzer does not ask for all memory there is.
const maxMemory = 64 << 20

func (m *memory) apply(o op) {
	switch o.kind {
	case opWrite:
		m.reach(o.off + int64(len(o.data)))
		copy(m.data[o.off:], o.data)
	case opTruncate:
		m.reach(o.n)
		m.data = m.data[:o.n]
	case opZero:
		end := min(o.off+o.n, int64(len(m.data)))
		if o.off < end {
			clear(m.data[o.off:end])
		}
	}
}

func (m *memory) reach(n int64) {
	if n > int64(len(m.data)) {
		m.data = append(m.data, make([]byte, n-int64(len(m.data)))...)
	}
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if off >= int64(len(m.data)) {
		return 0, io.EOF
	}
	n := copy(p, m.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if off+int64(len(p)) > maxMemory {
		return 0, io.ErrShortWrite
	}
	if err := m.do(op{kind: opWrite, off: off, data: p}); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (m *memory) Sync() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.do(op{kind: opSync})
}

func (m *memory) Size() (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(len(m.data)), nil
}

func (m *memory) Truncate(n int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n > maxMemory {
		return io.ErrShortWrite
	}
	return m.do(op{kind: opTruncate, n: n})
}

func (m *memory) Punch(off, n int64) (bool, error) {
	return true, m.Zero(off, n, true)
}

func (m *memory) Zero(off, n int64, _ bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.do(op{kind: opZero, off: off, n: n})
}

func (m *memory) Device() bool { return m.device }
func (m *memory) Close() error { return nil }
