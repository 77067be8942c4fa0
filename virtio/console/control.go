package console

import (
	"encoding/binary"

	"github.com/gureum/gureum/virtio/queue"
)

// Events of struct virtio_console_control (section 5.3.6.2).
const (
	eventDeviceReady = 0
	eventPortAdd     = 1
	eventPortReady   = 3
	eventConsolePort = 4
	eventResize      = 5
	eventPortOpen    = 6
	eventPortName    = 7
)

const controlSize = 8 // id, event, value

// message is a control message of the driver.
type message struct {
	id           uint32
	event, value uint16
}

// parseControl reads a message; it gives false for what is none.
func parseControl(c *queue.Chain) (message, bool) {
	var b [controlSize]byte
	if c.Read(b[:]) < len(b) {
		return message{}, false
	}
	return message{
		id:    binary.LittleEndian.Uint32(b[0:]),
		event: binary.LittleEndian.Uint16(b[4:]),
		value: binary.LittleEndian.Uint16(b[6:]),
	}, true
}

// What there is to say of a port, one bit each, in the order in which it is said.
const (
	sayAdd = 1 << iota
	sayConsole
	sayResize
	sayName
	sayOpen // or closed
	numSays = iota
)

// hear acts on a chain of the driver's control queue. What makes no sense is
// ignored: there is no way to answer it.
func (d *Device) hear(c *queue.Chain) (uint32, error) {
	m, ok := parseControl(c)
	if !ok {
		return 0, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if m.event == eventDeviceReady {
		for _, p := range d.ports {
			if m.value == 1 {
				d.post(p, sayAdd)
			}
		}
		return 0, nil
	}
	if m.id >= uint32(len(d.ports)) {
		return 0, nil
	}
	p := d.ports[m.id]
	switch m.event {
	case eventPortReady:
		p.ready = m.value == 1
		if p.ready {
			d.introduce(p)
		}
	case eventPortOpen:
		p.setOpen(m.value != 0)
	}
	return 0, nil
}

// introduce says what there is to know of a port that the driver has made. The
// caller holds the lock.
func (d *Device) introduce(p *Port) {
	says := 0
	if p.console {
		says |= sayConsole | sayResize
	}
	if p.name != "" {
		says |= sayName
	}
	if p.connected {
		says |= sayOpen
	}
	d.post(p, says)
}

// post has something said of a port. The caller holds the lock.
func (d *Device) post(p *Port, says int) {
	p.pending |= says
	if d.control != nil {
		d.control.Kick()
	}
}

// controlSender owns the control queue to the driver.
type controlSender struct {
	device *Device
	queue  *queue.Queue
	chain  queue.Chain
	buf    [controlSize + MaxName]byte
}

func (s *controlSender) serve() {
	for {
		s.queue.DisableKicks()
		for s.say() {
		}
		s.queue.Flush()
		// With nothing to say, the buffers that the driver offers stay there; who
		// has something to say kicks.
		if s.queue.EnableKicks() && s.waiting() && s.say() {
			continue
		}
		if s.queue.Wait() != nil {
			return
		}
	}
}

// waiting tells whether there is something to say.
func (s *controlSender) waiting() bool {
	s.device.mu.Lock()
	defer s.device.mu.Unlock()
	for _, p := range s.device.ports {
		if p.pending != 0 {
			return true
		}
	}
	return false
}

// say says one thing, if there is one and the driver has room for it.
func (s *controlSender) say() bool {
	if !s.waiting() {
		return false
	}
	ok, err := s.queue.Next(&s.chain)
	if !ok || err != nil {
		return false
	}
	n := s.chain.WriteAt(s.next(), 0)
	s.queue.Put(s.chain.Head, uint32(n))
	return true
}

// next is the next message, or nothing if there is none any more.
func (s *controlSender) next() []byte {
	d := s.device
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.ports {
		for i := range numSays {
			if bit := 1 << i; p.pending&bit != 0 {
				p.pending &^= bit
				return s.encode(p, bit)
			}
		}
	}
	return nil
}

func (s *controlSender) encode(p *Port, what int) []byte {
	event, value, extra := uint16(0), uint16(1), s.buf[controlSize:controlSize]
	switch what {
	case sayAdd:
		event = eventPortAdd
	case sayConsole:
		event = eventConsolePort
	case sayResize:
		event = eventResize
		// As the specification has it. Linux read rows first until 6.15, and until
		// updates of its older series.
		extra = binary.LittleEndian.AppendUint16(extra, s.device.cols)
		extra = binary.LittleEndian.AppendUint16(extra, s.device.rows)
	case sayName:
		event = eventPortName
		extra = append(extra, p.name...)
	case sayOpen:
		event = eventPortOpen
		if !p.connected {
			value = 0
		}
	}
	binary.LittleEndian.PutUint32(s.buf[0:], p.id)
	binary.LittleEndian.PutUint16(s.buf[4:], event)
	binary.LittleEndian.PutUint16(s.buf[6:], value)
	return s.buf[:controlSize+len(extra)]
}
