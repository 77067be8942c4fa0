package net

import (
	"errors"

	"github.com/gureum/gureum/virtio/queue"
)

// receiver owns a receive queue. It takes buffers until the frame that it expects fits,
// lets the backend put the next frame into them, and gives those back that were
// needed; the others wait for the frame after it. The backend is read only with a
// buffer in hand, so frames wait where the host counts and drops them.
//
// It expects frames that are no larger than the MTU until one is, and then for a while the
// largest there are, as these come in streams: forty buffers at each read are dear if the
// frame needs one. The end of a frame that is larger than that, or than what the driver
// offers, lands in spill and is copied.
type receiver struct {
	*owner
	mergeable bool
	keepFlags bool // GUEST_CSUM: the driver understands the header's flags

	held   []queue.Chain // a ring
	first  int           // the oldest one in held
	count  int           // how many are held
	parts  int           // slices in them
	space  uint64        // bytes in them
	frame  int           // bytes of a frame that was read and not yet given to the driver
	placed int           // how many of them are in the buffers, from the start; the rest is in spill
	asked  bool          // the driver was asked to kick

	largeFor int // how many more frames may be large

	untold      int // frames given to the driver since it was last told
	untoldBytes int

	spill []byte
	iov   [][]byte
	used  []queue.Used
}

// maxParts bounds the slices for one read, with one for spill: the kernel takes
// 1024 (UIO_MAXIOV).
const maxParts = 1023

// plainFrame is the room that is wanted when no frame is larger than the MTU.
const plainFrame = HeaderSize + etherHeader + 2*4 + 1500

// largeFrames is for how many frames after a large one another is expected: in a stream to
// the guest some frames are small.
const largeFrames = 64

// flushBytes is how much is given to the driver at most before it is told, though more is
// waiting: copying so much takes about as long as waking it.
const flushBytes = 64 << 10

var (
	errRXBuffer = errors.New("receive buffer without room for a header")
	errRXParts  = errors.New("receive buffer of more than 1023 parts")
)

func newReceiver(o *owner) *receiver {
	rx := &receiver{
		owner:     o,
		mergeable: o.act.Has(FeatureMergeableRX),
		keepFlags: o.act.Has(FeatureGuestCsum),
		asked:     true,
		spill:     make([]byte, maxFrame),
		iov:       make([][]byte, 0, maxParts+1),
	}
	n := 1
	if rx.mergeable {
		n = int(o.q.Size())
	}
	rx.held = make([]queue.Chain, n)
	parts := make([][]byte, n)
	for i := range rx.held {
		rx.held[i].Writable = parts[i : i : i+1]
	}
	rx.used = make([]queue.Used, 0, n)
	return rx
}

func (rx *receiver) run() { rx.serve(rx.step) }

// step receives one frame, or a part of one.
func (rx *receiver) step() (park bool) {
	if !rx.open() {
		rx.flush()
		return true
	}
	if err := rx.gather(); err != nil {
		return true // stopped, or broken until it is
	}
	if rx.count == 0 {
		return rx.starve()
	}
	if rx.frame == 0 {
		if park := rx.read(); park || rx.frame == 0 {
			return park
		}
	}
	if uint64(rx.frame) > rx.space && !rx.full() {
		if err := rx.gather(); err != nil {
			return true
		}
		if uint64(rx.frame) > rx.space && !rx.full() {
			return rx.starve()
		}
	}
	return rx.deliver()
}

// full tells that waiting for more buffers does not help.
func (rx *receiver) full() bool { return rx.count == len(rx.held) || rx.parts == maxParts }

// expected is the room for the next frame.
func (rx *receiver) expected() uint64 {
	if rx.largeFor > 0 {
		return maxFrame
	}
	return plainFrame
}

// gather takes buffers until the frame fits, or the next one.
func (rx *receiver) gather() error {
	want := max(uint64(rx.frame), rx.expected())
	for rx.space < want && !rx.full() {
		c := &rx.held[(rx.first+rx.count)%len(rx.held)]
		ok, err := rx.q.Next(c)
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		if c.WriteLen < HeaderSize {
			return rx.q.Fail(errRXBuffer)
		}
		if len(c.Writable) > maxParts-rx.parts {
			if rx.count == 0 {
				return rx.q.Fail(errRXParts)
			}
			rx.q.Unget()
			return nil
		}
		rx.count++
		rx.parts += len(c.Writable)
		rx.space += c.WriteLen
	}
	return nil
}

// starve asks for a kick when the driver has put more buffers out.
func (rx *receiver) starve() (park bool) {
	rx.flush()
	rx.asked = true
	return !rx.q.EnableKicks()
}

// read lets the backend put a frame into the buffers. When there is none it
// waits, not for the driver.
func (rx *receiver) read() (park bool) {
	if rx.asked {
		rx.asked = false
		rx.q.DisableKicks()
	}
	rx.iov = rx.iov[:0]
	room, want := uint64(0), rx.expected()
	for i := 0; i < rx.count && room < want; i++ {
		c := rx.at(i)
		rx.iov = append(rx.iov, c.Writable...)
		room += c.WriteLen
	}
	if room < maxFrame {
		rx.iov = append(rx.iov, rx.spill)
	}
	n, err := rx.d.cfg.Backend.Readv(rx.pair, rx.iov, false)
	if n == 0 && err == nil {
		rx.flush()
		n, err = rx.d.cfg.Backend.Readv(rx.pair, rx.iov, true)
	}
	if err != nil {
		rx.warn(warnReceive, "receive from the host's network", rx.q, err)
		rx.flush()
		rx.pause(retry)
		return true
	}
	if n < minFrame {
		return false
	}
	rx.frame, rx.placed = n, int(min(uint64(n), room))
	switch {
	case n > plainFrame:
		rx.largeFor = largeFrames
	case rx.largeFor > 0:
		rx.largeFor--
	}
	return false
}

func (rx *receiver) at(i int) *queue.Chain { return &rx.held[(rx.first+i)%len(rx.held)] }

// deliver gives the frame to the driver, or drops it if there will never be room.
func (rx *receiver) deliver() (park bool) {
	if wait := rx.d.rxLimit.take(rx.frame - HeaderSize); wait > 0 {
		rx.flush()
		rx.pause(wait)
		return true
	}
	if uint64(rx.frame) > rx.space {
		rx.d.stats.rxDropped.Add(1)
		rx.frame = 0
		return false
	}
	rx.unspill()
	size, left := rx.frame, rx.frame
	rx.used = rx.used[:0]
	for left > 0 {
		c := rx.at(len(rx.used))
		n := int(min(uint64(left), c.WriteLen))
		rx.used = append(rx.used, queue.Used{Head: c.Head, Written: uint32(n)})
		left -= n
	}
	rx.finishHeader(len(rx.used))
	for i := range rx.used {
		c := rx.at(i)
		rx.parts -= len(c.Writable)
		rx.space -= c.WriteLen
	}
	rx.first = (rx.first + len(rx.used)) % len(rx.held)
	rx.count -= len(rx.used)
	rx.frame = 0
	rx.q.PutAll(rx.used)
	rx.untold++
	// A driver that looks sees the frames at once. One that sleeps is woken for the last of
	// them: on a host with few CPUs it would run in place of who sends the others.
	if rx.untoldBytes += size; rx.untold >= flushEvery || rx.untoldBytes >= flushBytes {
		rx.flush()
	}
	return false
}

func (rx *receiver) flush() {
	rx.untold, rx.untoldBytes = 0, 0
	rx.q.Flush()
}

// unspill moves the end of a frame into the buffers that came after it was read.
func (rx *receiver) unspill() {
	off, rest := uint64(rx.placed), rx.spill[:rx.frame-rx.placed]
	for i := 0; len(rest) > 0; i++ {
		c := rx.at(i)
		if off >= c.WriteLen {
			off -= c.WriteLen
			continue
		}
		rest = rest[c.WriteAt(rest, off):]
		off = 0
	}
}

// finishHeader fills in what the backend leaves to us: num_buffers, and no flags
// for a driver that does not know them (section 5.1.6.4.1).
func (rx *receiver) finishHeader(buffers int) {
	c := rx.at(0)
	num := [2]byte{byte(buffers), byte(buffers >> 8)}
	c.WriteAt(num[:], 10)
	if !rx.keepFlags {
		c.WriteAt(zero[:], 0)
	}
}

var zero [1]byte
