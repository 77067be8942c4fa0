package devices

import "testing"

// FuzzPorts accesses the one-port devices at random.
func FuzzPorts(f *testing.F) {
	f.Add([]byte{0, 0x03, 1, 0x07, 2, 0x80, 4, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		var log eventLog
		p92, post, pv := NewPort92(log.add), NewPOST(), NewPVPanic(log.add)
		ops(data, func(op, arg uint8) {
			log.got = log.got[:0]
			last := inb(p92, 0)
			want := 0
			switch op % 4 {
			case 0:
				outb(p92, 0, arg)
				want = int(arg &^ last & port92Reset)
			case 1:
				outb(pv, 0, arg)
				want = int(arg&1 + arg>>1&1 + arg>>2&1)
			case 2:
				outb(post, 0, arg)
				if post.Code() != arg || inb(post, 0) != arg {
					t.Fatalf("POST code %#x, want %#x", post.Code(), arg)
				}
			default:
				p92.Restore(p92.Save())
				post.Restore(post.Save())
			}
			if len(log.got) != want {
				t.Fatalf("operation %d of %#x: events %v", op%4, arg, log.got)
			}
			if inb(pv, 0) != pvpanicAll {
				t.Fatal("pvpanic forgot its events")
			}
		})
	})
}
