package devices

// Ctrl, Alt, Del pressed and released in reverse order, in both scan code sets
// (IBM PS/2 Hardware Interface Technical Reference, keyboard scan codes).
const (
	ctrlAltDelSet1 = "\x1D\x38\xE0\x53" + "\xE0\xD3\xB8\x9D"
	ctrlAltDelSet2 = "\x14\x11\xE0\x71" + "\xE0\xF0\x71\xF0\x11\xF0\x14"
)

// kbdQueue is how many bytes a keyboard keeps for a slow host.
const kbdQueue = 16

// keyboard is the device at the other end of the wire. It belongs to I8042.mu.
type keyboard struct {
	queue    [kbdQueue]uint8
	head     int
	len      int
	scanning bool
	set      uint8 // scan code set
	cmd      uint8 // the command whose parameter is awaited, or 0
	sent     uint8 // the last byte sent, for a resend
}

// defaults is the state after power-on. Scanning is off until a driver turns it
// on, so that a key pressed at a guest without a driver does not linger.
func (k *keyboard) defaults() {
	k.scanning = false
	k.set = kbdDefaultSet
	k.cmd = 0
}

func (k *keyboard) fits(n int) bool { return k.len+n <= kbdQueue }

// send queues bytes for the controller. A byte that does not fit is lost, as on a
// keyboard whose host does not read.
func (k *keyboard) send(p ...byte) {
	for _, v := range p {
		if !k.fits(1) {
			return
		}
		k.queue[(k.head+k.len)%kbdQueue] = v
		k.len++
	}
}

// putBack returns a byte that the controller had taken, if there is room.
func (k *keyboard) putBack(v uint8) {
	if !k.fits(1) {
		return
	}
	k.head = (k.head + kbdQueue - 1) % kbdQueue
	k.queue[k.head] = v
	k.len++
}

// next takes the oldest byte.
func (k *keyboard) next() (uint8, bool) {
	if k.len == 0 {
		return 0, false
	}
	v := k.queue[k.head]
	k.head = (k.head + 1) % kbdQueue
	k.len--
	k.sent = v
	return v, true
}

// receive handles a byte from the host. With translation the controller would turn
// scan codes into set 1; of all answers only one is in the range which that
// changes, so it is done here.
func (k *keyboard) receive(v uint8, translated bool) {
	if k.cmd != 0 {
		cmd := k.cmd
		k.cmd = 0
		k.parameter(cmd, v)
		return
	}
	switch {
	case v == kbdSetLEDs, v == kbdScanSet, v == kbdRepeat, v >= kbdOneKey && v <= kbdOneKeyLast:
		k.cmd = v
		k.send(kbdAck)
	case v == kbdEcho:
		k.send(kbdEcho)
	case v == kbdIdentify && translated:
		k.send(kbdAck, kbdID1, kbdID2Set1)
	case v == kbdIdentify:
		k.send(kbdAck, kbdID1, kbdID2)
	case v == kbdEnable:
		k.scanning = true
		k.send(kbdAck)
	case v == kbdDisable, v == kbdDefaults:
		on := k.scanning && v == kbdDefaults
		k.defaults()
		k.scanning = on
		k.send(kbdAck)
	case v >= kbdAllKeys && v <= kbdAllKeysLast:
		k.send(kbdAck)
	case v == kbdResend:
		k.send(k.sent)
	case v == kbdReset:
		k.head, k.len = 0, 0
		k.defaults()
		k.send(kbdAck, kbdPassed)
	default:
		k.send(kbdNak)
	}
}

// parameter handles the second byte of a command.
func (k *keyboard) parameter(cmd, v uint8) {
	k.send(kbdAck)
	if cmd != kbdScanSet {
		return
	}
	switch {
	case v == 0:
		k.send(k.set)
	case v <= 3:
		k.set = v
	}
}
