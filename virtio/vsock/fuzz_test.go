package vsock

import (
	"testing"
	"time"

	"github.com/gureum/gureum/virtio/queue"
)

// FuzzPacket gives the device any packets of a guest's, while a host program has a
// listener and a connection. Whatever they say, no connection's buffer may hold more
// than it has room for, and the replies that wait are bounded.
func FuzzPacket(f *testing.F) {
	seed := func(hs ...header) {
		var all []byte
		for _, h := range hs {
			var b [headerSize]byte
			h.srcCID, h.dstCID, h.typ = guestCID, HostCID, typeStream
			h.put(b[:])
			all = append(all, b[:]...)
		}
		f.Add(all)
	}
	seed(header{srcPort: 1, dstPort: 1024, op: opRequest, alloc: 9}, header{srcPort: 1, dstPort: 1024, op: opShutdown, flags: 3})
	seed(header{srcPort: 1, dstPort: 1024, op: opRequest}, header{srcPort: 1, dstPort: 1024, op: opData, len: 0}, header{srcPort: 1, dstPort: 1024, op: opReset})
	seed(header{srcPort: 7, dstPort: firstHostPort, op: opResponse, alloc: 100}, header{srcPort: 7, dstPort: firstHostPort, op: opCreditRequest})
	seed(header{srcPort: 7, dstPort: 5, op: opData})
	f.Fuzz(func(t *testing.T, script []byte) {
		d, err := New(Config{CID: guestCID})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Listen(1024); err != nil {
			t.Fatal(err)
		}
		k := key{firstHostPort, 7}
		d.mu.Lock()
		d.run = &running{} // nobody receives, so what is to be sent stays
		d.conns[k] = newConn(d, k, dialling)
		d.conns[k].out = make([]byte, 100)
		d.mu.Unlock()
		for len(script) > 0 {
			n := min(headerSize+int(script[0]%8), len(script))
			if _, err := d.transmit(chainOf(script[:n])); err != nil {
				t.Fatal(err)
			}
			script = script[n:]
		}
		if d.replies.len() > maxReplies || d.Conns() > backlog+1 {
			t.Fatalf("%d replies, %d connections", d.replies.len(), d.Conns())
		}
		room := &queue.Chain{Writable: [][]byte{make([]byte, headerSize+1000)}, WriteLen: headerSize + 1000}
		for _, c := range d.conns {
			if c.in.used > bufferSize || c.in.used < 0 {
				t.Fatalf("a buffer of %d holds %d bytes", bufferSize, c.in.used)
			}
			c.fill(room)
		}
		d.mu.Lock()
		d.run = nil
		d.mu.Unlock()
		deadline := time.AfterFunc(10*time.Second, func() { panic("the device does not close") })
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		deadline.Stop()
	})
}
