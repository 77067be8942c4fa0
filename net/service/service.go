// Package service is what a network's guests ask the host for: addresses by DHCP and
// DHCPv6, the network by router advertisements, and names by DNS.
//
// One process serves one network, on the network's bridge: [Open] takes the sockets,
// which needs privilege, and [Service.Run] needs none, so that the process drops all
// rights between the two. Who gets what stands in a hosts file, which the commands write
// with [WriteHosts] and a running service reads again when it has changed.
//
// A guest is known by the Ethernet address of its frames, which the switch
// (net/vswitch) enforces; it gets one answer for one question, and no other port sees
// it. Nothing of a lease is kept here: an address is the port's until that is removed.
//
// The package never makes or changes a bridge, an address, a route or a firewall rule,
// and never speaks for a network but its own.
package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"github.com/gureum/gureum/net/ipam"
)

// TLD is the domain in which all networks are; it is set aside for such uses.
const TLD = "internal"

// Bounds of what one guest may ask: of DHCP and router solicitations, of DNS, and of
// lines in the log. A second, and at once.
const (
	asksRate, asksBurst       = 10, 50
	queriesRate, queriesBurst = 1000, 2000
	logRate, logBurst         = 1.0 / 60, 3
	maxClients                = 8192
)

// Bounds of what waits for an answer: of each guest, and in all.
const (
	maxAskedEach, maxAsked         = 16, 512
	maxQuestionsEach, maxQuestions = 64, 1024
)

// watchEvery is how often the service looks whether its bridge is still there.
const watchEvery = 2 * time.Second

// Config says which network to serve.
type Config struct {
	// Bridge is the name of the network's interface.
	Bridge string
	// Network is the network's name: guests are found as NAME.NETWORK.internal.
	Network string
	// Subnet and Subnet6 are the network's; a zero one is none, and one there must be.
	// The gateway, on the bridge, is the first address of each.
	Subnet, Subnet6 netip.Prefix
	// MTU is what guests are told, in bytes.
	MTU int
	// Internal says that there is no way out of the network: guests get no default
	// route, and questions for other names no answer.
	Internal bool
	// Hosts is the path of the hosts file. It may come later; its folder must exist, and
	// be searchable by the user that the process becomes.
	Hosts string
	// Upstreams are the DNS servers that other names' questions go to. None stands for
	// those of /etc/resolv.conf, which is read again when it changes.
	Upstreams []netip.AddrPort
	// Log takes what happens; nil is nowhere.
	Log *slog.Logger
}

// Validate tells what is wrong with a configuration.
func (c Config) Validate() error {
	if c.Bridge == "" || c.Hosts == "" {
		return errors.New("network service: no bridge or no hosts file")
	}
	if err := CheckName(c.Network); err != nil {
		return fmt.Errorf("network service: %w", err)
	}
	if strings.Contains(c.Network, ".") {
		return fmt.Errorf("network service: name %q: a network's name has no dots", c.Network)
	}
	if !c.Subnet.IsValid() && !c.Subnet6.IsValid() {
		return errors.New("network service: no subnet")
	}
	least := 576 // RFC 791: what every host takes
	if c.Subnet.IsValid() {
		if err := ipam.CheckSubnet(c.Subnet); err != nil {
			return fmt.Errorf("network service: %w", err)
		}
	}
	if c.Subnet6.IsValid() {
		if err := ipam.CheckSubnet6(c.Subnet6); err != nil {
			return fmt.Errorf("network service: %w", err)
		}
		least = 1280 // RFC 8200, section 5
	}
	if c.MTU < least || c.MTU > 65535 {
		return fmt.Errorf("network service: MTU %d: from %d to 65535 are possible", c.MTU, least)
	}
	return nil
}

// Service serves one network.
type Service struct {
	cfg               Config
	log               *slog.Logger
	domain            string // NETWORK.internal, lower case
	gateway, gateway6 netip.Addr
	duid              *dhcpv6.DUIDUUID

	// Of the bridge.
	index     int
	mac       [6]byte
	linkLocal netip.Addr

	hosts    *hostStore
	upstream *forwarder
	asks     *limiter[[6]byte]
	notes    *limiter[[6]byte]
	queries  *limiter[netip.Addr]
	forwards *gate[netip.Addr]
	streams  *gate[netip.Addr]

	link4, link6 link // nil when the network has no such addresses
	sockets      *sockets
	closed       sync.Once
}

// newService makes a service without sockets.
func newService(cfg Config) *Service {
	s := &Service{
		cfg: cfg, log: cfg.Log, domain: domainOf(cfg.Network),
		asks:     newLimiter[[6]byte](asksRate, asksBurst, maxClients),
		notes:    newLimiter[[6]byte](logRate, logBurst, maxClients),
		queries:  newLimiter[netip.Addr](queriesRate, queriesBurst, maxClients),
		forwards: newGate[netip.Addr](maxForwardsEach, maxForwards),
		streams:  newGate[netip.Addr](maxStreamsEach, maxStreams),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if cfg.Subnet.IsValid() {
		s.gateway = ipam.Gateway(cfg.Subnet)
	}
	if cfg.Subnet6.IsValid() {
		s.gateway6 = ipam.Gateway(cfg.Subnet6)
		s.duid = serverDUID(cfg.Network, cfg.Subnet6)
	}
	s.upstream = newForwarder(cfg.Upstreams, s.log, s.gateway, s.gateway6)
	return s
}

// Open takes the sockets of a network's service: packet sockets on the bridge, and
// those for DNS on the gateway's addresses. It needs CAP_NET_RAW, CAP_NET_ADMIN and
// CAP_NET_BIND_SERVICE in the network's namespace. From then on nothing that guests ask
// is lost; Run answers it. A Service that is not run must be closed.
func Open(cfg Config) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := newService(cfg)
	var err error
	if s.hosts, err = openHosts(cfg.Hosts, s.log); err != nil {
		return nil, fmt.Errorf("network service %s: %w", cfg.Network, err)
	}
	if err := s.openSockets(); err != nil {
		return nil, errors.Join(fmt.Errorf("network service %s: %w", cfg.Network, err), s.Close())
	}
	return s, nil
}

// Close gives up the sockets of a Service that does not run. After Run, or a second
// time, it does nothing.
func (s *Service) Close() error {
	var err error
	s.closed.Do(func() {
		if s.sockets != nil {
			err = s.sockets.close()
		}
		err = errors.Join(err, s.hosts.close())
	})
	return err
}

// Run answers until the context is done, which is no error, or until it cannot: the
// bridge is gone, or a socket has failed. The Service is closed then. Run needs no
// privilege: it makes UDP and TCP connections to the upstreams and reads the hosts file
// and /etc/resolv.conf, if it can.
func (s *Service) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	run := func(what string, f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("network service %s: %s: %w", s.cfg.Network, what, err))
			}
		})
	}
	for _, t := range s.tasks() {
		run(t.what, t.run)
	}
	<-ctx.Done()
	s.sockets.stop()
	wg.Wait()
	err := s.Close()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		err = errors.Join(cause, err)
	}
	return err
}

// task is a part of the service that runs for as long as the whole.
type task struct {
	what string
	run  func(context.Context) error
}

func (s *Service) tasks() []task {
	tasks := []task{{"bridge " + s.cfg.Bridge, s.watch}}
	if s.link4 != nil {
		tasks = append(tasks, task{"DHCP", func(ctx context.Context) error { return s.serve(ctx, s.link4, s.answer4) }})
	}
	if s.link6 != nil {
		tasks = append(
			tasks,
			task{"DHCPv6 and router solicitations", func(ctx context.Context) error { return s.serve(ctx, s.link6, s.answer6) }},
			task{"router advertisements", s.advertise},
		)
	}
	for _, c := range s.sockets.udp {
		tasks = append(tasks, task{"DNS", func(ctx context.Context) error { return s.serveUDP(ctx, c) }})
	}
	for _, l := range s.sockets.tcp {
		tasks = append(tasks, task{"DNS over TCP", func(ctx context.Context) error { return s.serveTCP(ctx, l) }})
	}
	return tasks
}

// watch ends the service with its bridge: a new one of the same name is another.
func (s *Service) watch(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := s.sockets.exists(); err != nil {
				return err
			}
		}
	}
}

// asked is a packet that waits for its answer.
type asked struct {
	packet []byte
	from   [6]byte
}

// serve answers the packets of one protocol: one goroutine takes them in, another
// answers, by turns.
func (s *Service) serve(ctx context.Context, l link, answer func([]byte, [6]byte, time.Time) []byte) error {
	buf := make([]byte, maxPacket)
	take := func() (from [6]byte, a asked, wanted bool, err error) {
		n, from, err := l.read(buf)
		if err != nil {
			return from, a, false, err
		}
		return from, asked{bytes.Clone(buf[:n]), from}, true, nil
	}
	return newFair[[6]byte, asked](maxAskedEach, maxAsked).byTurns(ctx, take, func(_ context.Context, a asked) {
		s.answerPacket(l, a, answer)
	})
}

func (s *Service) answerPacket(l link, a asked, answer func([]byte, [6]byte, time.Time) []byte) {
	var reply []byte
	s.guard("packet", func() { reply = answer(a.packet, a.from, time.Now()) })
	if reply == nil {
		return
	}
	if err := l.write(reply, a.from); err != nil {
		s.log.Debug("answer is not sent", "to", ipam.FormatMAC(a.from), "error", err)
	}
}

// guard keeps a fault in the libraries that take a guest's bytes apart from ending the
// service of all others: the guest gets no answer. No guest can fill the log with it.
func (s *Service) guard(what string, f func()) {
	defer func() {
		if r := recover(); r != nil && s.notes.allow([6]byte{}, time.Now()) {
			s.log.Error("fault while a guest's "+what+" was answered", "fault", r, "stack", string(debug.Stack()))
		}
	}()
	f()
}

// known finds who has sent a frame, unless it asks too much.
func (s *Service) known(mac [6]byte, now time.Time) (Host, bool) {
	host, ok := s.hosts.current().byMAC[mac]
	return host, ok && s.asks.allow(mac, now)
}

// complain puts into the log what a guest does, unless it does too much.
func (s *Service) complain(host Host, what string, args ...any) {
	if s.notes.allow(host.MAC, time.Now()) {
		s.log.Warn(what, append([]any{"network", s.cfg.Network, "host", host.Name}, args...)...)
	}
}
