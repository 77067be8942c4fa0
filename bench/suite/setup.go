package suite

import (
	"net"
	"slices"

	"github.com/gureum/gureum/bench/host"
	"github.com/gureum/gureum/bench/peer"
)

// Names of setups. Those of the network are the case of its figures.
const (
	onOneCPU      = "one CPU"
	onSeveralCPUs = "several CPUs"

	onTap    = "tap"
	onVhost  = "tap, vhost"
	onQueues = "tap, 2 queues"
	onUser   = "user mode"
	onPair   = "guest to guest"
)

// setup is a guest that makes several rows one after the other, and what it makes them on.
type setup struct {
	group, name string
	// change makes the guest of it, and other that of the server where that is a guest, too.
	change, other func(*peer.Guest)
	// address is the guest's, and server that of who serves its network's loads.
	address, server string
	// host says that the host itself makes the rows, too.
	host bool
	// prepare makes what guests are connected to.
	prepare func() (remove func() error, err error)
}

// setups are those of a group.
func setups(group string) []setup {
	if group == groupBlock {
		disk := func(cpus int) func(*peer.Guest) {
			return func(g *peer.Guest) { g.Disk, g.CPUs = host.DiskDevice, cpus }
		}
		return []setup{
			{group: group, name: onOneCPU, change: disk(1), host: true, prepare: host.PrepareDisk},
			{group: group, name: onSeveralCPUs, change: disk(severalJobs), host: true, prepare: host.PrepareDisk},
		}
	}
	all := []setup{
		{name: onTap, change: func(g *peer.Guest) { g.Tap = tapName }, host: true, prepare: func() (func() error, error) { return prepareTap(1) }},
		{name: onVhost, change: func(g *peer.Guest) { g.Tap, g.Vhost = tapName, true }, prepare: func() (func() error, error) { return prepareTap(1) }},
		{name: onQueues, change: func(g *peer.Guest) { g.Tap, g.Queues, g.CPUs = tapName, 2, 2 }, prepare: func() (func() error, error) { return prepareTap(2) }},
		{name: onUser, change: func(g *peer.Guest) { g.UserNet = true }, address: peer.UserGuest, server: peer.UserHost, prepare: nothing},
		{
			name: onPair, server: otherAddr, change: func(g *peer.Guest) { g.Tap, g.MAC = tapName, guestMAC },
			other:   func(g *peer.Guest) { g.Tap, g.MAC = otherTap, otherMAC },
			prepare: func() (func() error, error) { return host.PrepareBridge(bridgeName, tapName, otherTap) },
		},
	}
	for i := range all {
		s := &all[i]
		s.group = group
		if s.address == "" {
			s.address = guestAddr
		}
		if s.server == "" {
			s.server = hostAddr
		}
	}
	return all
}

func nothing() (func() error, error) { return func() error { return nil }, nil }

// Addresses on the taps of a measurement, and where servers listen.
const (
	hostAddr  = "10.213.0.1"
	guestAddr = "10.213.0.2"
	otherAddr = "10.213.0.3"
	loadPort  = "5201"

	tapName    = "gbench0"
	otherTap   = "gbench1"
	bridgeName = "gbenchbr0"

	// Of the range for local use (IEEE 802, section 8.2).
	guestMAC = "02:67:62:00:00:02"
	otherMAC = "02:67:62:00:00:03"
)

func prepareTap(queues int) (remove func() error, err error) {
	return host.PrepareTap(tapName, hostAddr+"/24", queues)
}

// listenAddr is where the host serves a setup: nobody else reaches it there.
func (s *setup) listenAddr() string {
	if s.server == peer.UserHost {
		return net.JoinHostPort("127.0.0.1", loadPort)
	}
	return net.JoinHostPort(s.server, loadPort)
}

// rowsOf are the numbers of the rows that a setup has.
func (s *setup) rowsOf() []int {
	var numbers []int
	for i, w := range rows() {
		if w.group == s.group && slices.Contains(w.setups, s.name) {
			numbers = append(numbers, i)
		}
	}
	return numbers
}

// rowSteps is how often guests of a group are started, and the host in place of one.
func (r *run) rowSteps(group string) int {
	n := 0
	for _, s := range setups(group) {
		subjects := len(r.vmms())
		if s.host && r.withHost {
			subjects++
		}
		n += subjects * r.rounds()
	}
	return n
}
