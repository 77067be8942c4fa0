package vsock

import "sync"

// bufferSize is the room for what the guest has sent on one connection and nobody
// has read yet, in bytes: what the guest is told it may send ahead.
const bufferSize = 128 << 10

// buffers are shared by all connections: one with nothing to read holds none.
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// buffer is a ring of bytes.
type buffer struct {
	bytes *[bufferSize]byte // nil while empty
	start int
	used  int
}

// space is a part of the ring that n bytes can be written to, perhaps fewer than n;
// grow makes them count. The caller has made sure that there is room.
func (b *buffer) space(n int) []byte {
	if b.bytes == nil {
		b.bytes = buffers.Get().(*[bufferSize]byte)
	}
	at := (b.start + b.used) % bufferSize
	return b.bytes[at:min(at+n, bufferSize)]
}

func (b *buffer) grow(n int) { b.used += n }

// data is a part of what is there, all of it up to the end of the ring.
func (b *buffer) data() []byte {
	if b.used == 0 {
		return nil
	}
	return b.bytes[b.start:min(b.start+b.used, bufferSize)]
}

// drop forgets the first n bytes.
func (b *buffer) drop(n int) {
	b.start = (b.start + n) % bufferSize
	b.used -= n
	if b.used == 0 {
		b.release()
	}
}

// release gives the memory back and forgets all.
func (b *buffer) release() {
	if b.bytes != nil {
		buffers.Put(b.bytes)
	}
	*b = buffer{}
}
