package net

import (
	"encoding/binary"
	"errors"

	"github.com/gureum/gureum/virtio/queue"
)

// Classes and commands of the control queue (section 5.1.6.5).
const (
	classRX           = 0
	cmdRXPromisc      = 0
	cmdRXAllMulticast = 1
	cmdRXAllUnicast   = 2
	cmdRXNoMulticast  = 3
	cmdRXNoUnicast    = 4
	cmdRXNoBroadcast  = 5

	classMAC        = 1
	cmdMACTableSet  = 0
	cmdMACAddrSet   = 1
	classAnnounce   = 3
	cmdAnnounceAck  = 0
	classMQ         = 4
	cmdMQPairsSet   = 0
	classOffloads   = 5
	cmdOffloadsSet  = 0
	ackOK, ackError = 0, 1
)

// maxAddresses bounds each half of the MAC table; a driver with more addresses
// gets every frame of that kind.
const maxAddresses = 64

// maxCommand is the length of the longest command: two MAC tables of which the
// first can be longer than what is kept of it.
const maxCommand = 2 + 2*(4+6*1024)

var (
	errCommand = errors.New("control command of a wrong length")
	errUnknown = errors.New("control command that is not known or was not negotiated")
	errAck     = errors.New("control command without room for an answer")
)

// rxMode is what the driver wants to see (sections 5.1.6.5.1 and 5.1.6.5.2).
type rxMode struct {
	promisc, allMulticast, allUnicast       bool
	noMulticast, noUnicast, noBroadcast     bool
	unicast, multicast                      [][6]byte
	unicastOverflow, multicastOverflow, set bool
}

// command is one parsed request. Only the fields of its class are set.
type command struct {
	class, number uint8
	on            bool      // classRX
	mac           [6]byte   // cmdMACAddrSet
	table         [2]macSet // cmdMACTableSet: unicast, multicast
	pairs         int       // classMQ
	offloads      uint64    // classOffloads
}

type macSet struct {
	addresses [][6]byte
	overflow  bool
}

// parseCommand reads a request that was copied out of the guest's memory.
func parseCommand(b []byte) (command, error) {
	if len(b) < 2 {
		return command{}, errCommand
	}
	c := command{class: b[0], number: b[1]}
	b = b[2:]
	want := func(n int) error {
		if len(b) != n {
			return errCommand
		}
		return nil
	}
	switch c.class {
	case classRX:
		if err := want(1); err != nil {
			return command{}, err
		}
		c.on = b[0] != 0
	case classMAC:
		return c.parseMAC(b)
	case classAnnounce:
		return c, want(0)
	case classMQ:
		if err := want(2); err != nil {
			return command{}, err
		}
		c.pairs = int(binary.LittleEndian.Uint16(b))
	case classOffloads:
		if err := want(8); err != nil {
			return command{}, err
		}
		c.offloads = binary.LittleEndian.Uint64(b)
	default:
		return command{}, errUnknown
	}
	return c, nil
}

func (c command) parseMAC(b []byte) (command, error) {
	switch c.number {
	case cmdMACAddrSet:
		if len(b) != 6 {
			return command{}, errCommand
		}
		copy(c.mac[:], b)
		return c, nil
	case cmdMACTableSet:
		for i := range c.table {
			if len(b) < 4 {
				return command{}, errCommand
			}
			n := uint64(binary.LittleEndian.Uint32(b))
			if b = b[4:]; n*6 > uint64(len(b)) {
				return command{}, errCommand
			}
			c.table[i] = parseSet(b[:n*6])
			b = b[n*6:]
		}
		if len(b) != 0 {
			return command{}, errCommand
		}
		return c, nil
	}
	return command{}, errUnknown
}

func parseSet(b []byte) (s macSet) {
	if len(b) > 6*maxAddresses {
		s.overflow = true
		return s
	}
	for ; len(b) > 0; b = b[6:] {
		s.addresses = append(s.addresses, [6]byte(b))
	}
	return s
}

// controller owns the control queue.
type controller struct {
	*owner
	mode rxMode
	buf  []byte
}

func newController(o *owner) *controller { return &controller{owner: o} }

func (c *controller) run() { c.q.Serve(c.handle) }

// handle answers one request.
func (c *controller) handle(ch *queue.Chain) (uint32, error) {
	if ch.WriteLen == 0 {
		return 0, errAck
	}
	ack := [1]byte{ackOK}
	if err := c.do(ch); err != nil {
		c.d.log.Debug("control command of the guest", "error", err)
		ack[0] = ackError
	}
	return uint32(ch.WriteAt(ack[:], 0)), nil
}

func (c *controller) do(ch *queue.Chain) error {
	if ch.ReadLen > maxCommand {
		return errCommand
	}
	if c.buf == nil {
		c.buf = make([]byte, maxCommand)
	}
	cmd, err := parseCommand(c.buf[:ch.Read(c.buf)])
	if err != nil {
		return err
	}
	if !c.negotiated(&cmd) {
		return errUnknown
	}
	switch cmd.class {
	case classRX:
		c.mode.switchTo(cmd.number, cmd.on)
		return c.applyFilter()
	case classMAC:
		return c.doMAC(&cmd)
	case classAnnounce:
		c.d.mu.Lock()
		c.d.announce = false
		c.d.mu.Unlock()
		return nil
	case classMQ:
		return c.setPairs(cmd.pairs)
	}
	return c.setOffloads(cmd.offloads)
}

// negotiated tells whether the driver may give the command.
func (c *controller) negotiated(cmd *command) bool {
	type key struct{ class, number uint8 }
	switch (key{cmd.class, cmd.number}) {
	case key{classRX, cmdRXPromisc}, key{classRX, cmdRXAllMulticast}, key{classMAC, cmdMACTableSet}:
		return c.act.Has(FeatureCtrlRX)
	case key{classRX, cmdRXAllUnicast}, key{classRX, cmdRXNoMulticast},
		key{classRX, cmdRXNoUnicast}, key{classRX, cmdRXNoBroadcast}:
		return c.act.Has(FeatureCtrlRXExtra)
	case key{classMAC, cmdMACAddrSet}:
		return c.act.Has(FeatureCtrlMACAddr)
	case key{classAnnounce, cmdAnnounceAck}:
		return c.act.Has(FeatureGuestAnnounce)
	case key{classMQ, cmdMQPairsSet}:
		return c.act.Has(FeatureMQ)
	case key{classOffloads, cmdOffloadsSet}:
		return c.act.Has(FeatureCtrlGuestOffloads)
	}
	return false
}

func (c *controller) doMAC(cmd *command) error {
	if cmd.number == cmdMACTableSet {
		c.mode.unicast, c.mode.unicastOverflow = cmd.table[0].addresses, cmd.table[0].overflow
		c.mode.multicast, c.mode.multicastOverflow = cmd.table[1].addresses, cmd.table[1].overflow
		c.mode.set = true
		return c.applyFilter()
	}
	if cmd.mac[0]&1 != 0 {
		return errCommand // a group's address is nobody's
	}
	c.d.mu.Lock()
	c.d.mac = cmd.mac
	c.d.mu.Unlock()
	return c.applyFilter()
}

// setPairs switches pairs of queues on and off (section 5.1.6.5.5).
func (c *controller) setPairs(n int) error {
	if n < 1 || n > c.d.pairs {
		return errCommand
	}
	if n < int(c.d.active.Load()) {
		c.d.active.Store(int32(n)) // nobody reads a pair that is off
	}
	if err := c.d.cfg.Backend.SetPairs(n); err != nil {
		return err
	}
	c.d.active.Store(int32(n))
	c.wake()
	return nil
}

// setOffloads switches what frames to the guest may make use of, within what was
// negotiated (section 5.1.6.5.6).
func (c *controller) setOffloads(bits uint64) error {
	if bits&^(c.act.Features&guestOffloadBits) != 0 {
		return errCommand
	}
	return c.d.setOffloads(guestOffloads(bits))
}

func (m *rxMode) switchTo(number uint8, on bool) {
	m.set = true
	switch number {
	case cmdRXPromisc:
		m.promisc = on
	case cmdRXAllMulticast:
		m.allMulticast = on
	case cmdRXAllUnicast:
		m.allUnicast = on
	case cmdRXNoMulticast:
		m.noMulticast = on
	case cmdRXNoUnicast:
		m.noUnicast = on
	case cmdRXNoBroadcast:
		m.noBroadcast = on
	}
}

// filter is what the backend is told. Until the driver has said what it wants it
// gets all.
func (m *rxMode) filter(mac [6]byte) Filter {
	if !m.set || m.promisc || m.allUnicast || m.unicastOverflow {
		return Filter{All: true}
	}
	f := Filter{AllMulticast: m.allMulticast || m.multicastOverflow}
	if !m.noUnicast {
		f.Addresses = append(f.Addresses, mac)
		f.Addresses = append(f.Addresses, m.unicast...)
	}
	if !m.noBroadcast {
		f.Addresses = append(f.Addresses, [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	}
	if !m.noMulticast {
		f.Addresses = append(f.Addresses, m.multicast...)
	}
	return f
}

func (c *controller) applyFilter() error {
	return c.d.cfg.Backend.SetFilter(c.mode.filter(c.d.MAC()))
}
