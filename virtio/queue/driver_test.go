package queue

import (
	"encoding/binary"
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"github.com/gureum/gureum/kvm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// heap is guest memory that the race detector watches, which it does not do with
// the mapped memory of real guests.
type heap []byte

func (h heap) Size() uint64 { return uint64(len(h)) }

func (h heap) Slice(gpa, n uint64) ([]byte, error) {
	if gpa > uint64(len(h)) || n > uint64(len(h))-gpa {
		return nil, fmt.Errorf("%d bytes at %#x: not in RAM", n, gpa)
	}
	return h[gpa : gpa+n : gpa+n], nil
}

// driver is the other side of a queue, with the same accessors: what it stores with
// store16 releases, what it loads with load16 acquires.
type driver struct {
	mem              heap
	size             uint16
	desc, avail, use []byte
	availIdx         uint16
	usedSeen         uint16
	kick             *kvm.EventFD
	interrupts       chan struct{}
	broken           []error
	eventIdx         bool
	publishLater     bool // the test goes on publishing while the device takes
}

// Places in the driver's memory. Rings of up to 256 descriptors fit.
const (
	testDesc    = 0x1000
	testAvail   = 0x3000
	testUsed    = 0x4000
	testBuffers = 0x1_0000
	testMemory  = 0x4_0000
)

func newDriver(t testing.TB, cfg Config) (*driver, *Queue) {
	t.Helper()
	kick, err := kvm.NewEventFD()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kick.Close() })
	d := &driver{
		mem: make(heap, testMemory), size: cfg.Size, kick: kick, eventIdx: cfg.EventIdx,
		interrupts: make(chan struct{}, 1),
	}
	cfg.Desc, cfg.Driver, cfg.Device = testDesc, testAvail, testUsed
	cfg.Kick = kick
	cfg.Interrupt = func() {
		select {
		case d.interrupts <- struct{}{}:
		default:
		}
	}
	cfg.Broken = func(err error) { d.broken = append(d.broken, err) }
	q, err := New(d.mem, cfg)
	if err != nil {
		t.Fatal(err)
	}
	d.desc, d.avail, d.use = d.mem[testDesc:testAvail], d.mem[testAvail:testUsed], d.mem[testUsed:testBuffers]
	return d, q
}

func putDesc(table []byte, i uint16, d descriptor) {
	b := table[int(i)*descSize:]
	binary.LittleEndian.PutUint64(b[0:], d.addr)
	binary.LittleEndian.PutUint32(b[8:], d.size)
	binary.LittleEndian.PutUint16(b[12:], d.flags)
	binary.LittleEndian.PutUint16(b[14:], d.next)
}

// chain writes descriptors one after the other, from number first on, and links them.
func (d *driver) chain(first uint16, parts ...descriptor) {
	for i, p := range parts {
		if i < len(parts)-1 {
			p.flags |= flagNext
			p.next = first + uint16(i) + 1
		}
		putDesc(d.desc, first+uint16(i), p)
	}
}

// publish makes a chain available and notifies if the device wants it.
func (d *driver) publish(head uint16) {
	binary.LittleEndian.PutUint16(d.avail[availHead+2*int(d.availIdx%d.size):], head)
	old := d.availIdx
	d.availIdx++
	store16(d.avail[2:], d.availIdx)
	fence()
	wanted := load16(d.use[0:])&noNotify == 0
	if d.eventIdx {
		event := load16(d.use[usedHead+usedElem*int(d.size):])
		wanted = d.availIdx-event-1 < d.availIdx-old
	}
	if wanted {
		_ = d.kick.Signal()
	}
}

// used takes one chain that the device gave back.
func (d *driver) used() (u Used, ok bool) {
	if load16(d.use[2:]) == d.usedSeen {
		return Used{}, false
	}
	elem := d.use[usedHead+usedElem*int(d.usedSeen%d.size):]
	d.usedSeen++
	return Used{uint16(binary.LittleEndian.Uint32(elem)), binary.LittleEndian.Uint32(elem[4:])}, true
}

// arm asks for an interrupt with the next chain and tells whether one is there
// already.
func (d *driver) arm() bool {
	if d.eventIdx {
		store16(d.avail[availHead+2*int(d.size):], d.usedSeen)
	}
	fence()
	return load16(d.use[2:]) != d.usedSeen
}
