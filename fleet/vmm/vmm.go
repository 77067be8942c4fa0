// Package vmm is the process of one machine that runs in the background.
//
//	fleet --starts--> Run: record --> vm.New --> jail --> Start --> api, logs --> end
//
// It is given a machine's record, the lock that says that it lives, and the taps that
// it may not open itself. It serves the machine's control socket, keeps its console and
// its command's output, and writes to the journal how it ended. It needs nobody: the
// command that started it may be gone, and nothing else must be there.
//
// It never touches another machine, never starts a process, and leaves what it was
// given to whoever gave it: taps, leases and folders are package fleet's to remove.
package vmm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/fleet/jail"
	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/net/ipam"
	"github.com/gureum/gureum/net/service"
	"github.com/gureum/gureum/vm"
)

// Options are what the process is given.
type Options struct {
	Dirs state.Dirs
	ID   string
	// Alive is the lock that says that the process lives; it is held by being open.
	Alive *os.File
	// Report tells whoever starts the machine how that went; see Report.
	Report *os.File
	// Leash is a pipe whose end is the machine's; nil for none.
	Leash *os.File
	// Queues are those of the taps, in the order of the record's ports.
	Queues [][]*os.File
	// Shares are the folders for the guest, in the order of the record's. Without root
	// there are none: the process opens them itself.
	Shares []*os.File
	// Release is that of the program.
	Release string
}

// Report is what the process says of its start, once, as JSON on a pipe. A pipe that
// ends without it tells that the process died.
type Report struct {
	// Error is why the machine did not start; "" if it did.
	Error string `json:"error,omitempty"`
	// Kind says whose fault that is.
	Kind Kind `json:"kind,omitempty"`
}

// Kind is whose fault an error is.
type Kind string

// The kinds of errors.
const (
	KindInput   Kind = "input"   // what the user asked for
	KindHost    Kind = "host"    // this host cannot
	KindMachine Kind = "machine" // anything else
)

// process is a machine and what belongs to it.
type process struct {
	options Options
	record  *state.VM
	plan    *spec.Plan
	machine *vm.Machine
	journal *state.Journal
	console *tee // of the guest's console
	output  *tee // of its command
	server  *server
	guest   guest
	started time.Time
	rest    *rest
	cell    jail.Config
	pid     int // as the host sees it
}

// Run runs the machine to its end and gives the process's exit status.
func Run(o Options) int {
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGPIPE) // of the terminal of whoever started it
	p := &process{options: o}
	err := p.start()
	report(o.Report, err)
	if err != nil {
		return 1
	}
	defer p.close()
	return p.attend()
}

// report says how the start went. Nobody may be listening any more.
func report(w io.WriteCloser, err error) {
	r := Report{}
	if err != nil {
		var input *vm.InputError
		var host *vm.HostError
		r.Error, r.Kind = err.Error(), KindMachine
		switch {
		case errors.As(err, &input):
			r.Kind = KindInput
		case errors.As(err, &host):
			r.Kind = KindHost
		}
	}
	_ = json.NewEncoder(w).Encode(r)
	_ = w.Close()
}

// start brings the machine to where its first instruction ran. What a failed start had
// made is gone again.
func (p *process) start() (err error) {
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	for _, step := range []func() error{p.load, p.openLogs, p.build, p.serve, p.confine} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := p.machine.Start(); err != nil {
		return err
	}
	p.started = time.Now()
	p.guest.attend(p)
	return errors.Join(
		p.journal.Add(state.Entry{Event: state.EventStart, PID: p.pid, Time: p.started}),
		p.journal.Add(state.Entry{Event: state.EventStage, Stage: string(state.StageKernel)}),
	)
}

// load reads the record and makes the plan of the machine.
func (p *process) load() error {
	o := &p.options
	var err error
	if p.record, err = o.Dirs.GetVM(o.ID); err != nil {
		return err
	}
	if p.plan, err = p.record.Spec.Plan(); err != nil {
		return &vm.InputError{Err: err}
	}
	p.cell = Cell(o.Dirs, p.record, p.plan)
	if err := p.prepareCell(); err != nil {
		return err
	}
	if err := p.plan.Prepare(o.Dirs.VMDir(o.ID)); err != nil {
		return &vm.InputError{Err: err}
	}
	c := &p.plan.Config
	c.Name = p.record.Name
	if err := p.plan.Background(); err != nil {
		return &vm.InputError{Err: err}
	}
	c.Vsock = vm.Vsock{On: true, Path: state.VsockSocket}
	return p.takePorts()
}

// takePorts gives the interfaces on networks their queues and addresses. Without
// privilege they are user-mode networks.
func (p *process) takePorts() error {
	if os.Geteuid() != 0 {
		for _, port := range p.record.Ports {
			n := &p.plan.Config.NICs[port.NIC]
			*n = vm.NIC{User: true, MTU: port.MTU}
		}
		return nil
	}
	if len(p.options.Queues) != len(p.record.Ports) {
		return fmt.Errorf("%d taps were handed over for %d interfaces", len(p.options.Queues), len(p.record.Ports))
	}
	addresses, err := p.addresses()
	if err != nil {
		return err
	}
	for i, port := range p.record.Ports {
		n := &p.plan.Config.NICs[port.NIC]
		mac, err := ipam.ParseMAC(port.MAC)
		if err != nil {
			return err
		}
		n.MAC, n.Tap, n.MTU = mac, port.Tap, port.MTU
		n.Queue, n.Queues = p.options.Queues[i], len(p.options.Queues[i])
		n.Guest = addresses[i]
	}
	return nil
}

// addresses are what the embedded user land gives the interfaces on networks: their
// services would tell it the same. The default route and names are those of the first
// network that leads outside, else of the first.
func (p *process) addresses() ([]vm.Address, error) {
	out := make([]vm.Address, len(p.record.Ports))
	way := -1
	var ways *state.Network
	for i, port := range p.record.Ports {
		n, err := p.options.Dirs.FindNetwork(port.Network)
		if err != nil {
			return nil, err
		}
		out[i].IP = netip.PrefixFrom(port.IP, n.Subnet.Bits())
		if way < 0 || ways.Internal && !n.Internal {
			way, ways = i, n
		}
	}
	if way < 0 {
		return out, nil
	}
	gateway := ipam.Gateway(ways.Subnet)
	out[way].DNS, out[way].Search = []netip.Addr{gateway}, ways.Name+"."+service.TLD
	if !ways.Internal {
		out[way].Gateway = gateway
	}
	return out, nil
}

func (p *process) openLogs() error {
	o := &p.options
	var err error
	if p.journal, err = state.OpenJournal(o.Dirs.Journal(o.ID)); err != nil {
		return err
	}
	if p.console, err = openTee(o.Dirs.ConsoleLog(o.ID)); err != nil {
		return err
	}
	p.output, err = openTee(o.Dirs.OutputLog(o.ID))
	return err
}

// build makes the machine. Sockets get relative names, as the folder that they are in is
// all that the process sees later, under another path.
func (p *process) build() error {
	root := p.options.Dirs.VMRoot(p.options.ID)
	if err := os.MkdirAll(root, 0o700); err != nil {
		return err
	}
	for _, name := range []string{state.APISocket, state.VsockSocket} {
		// Of a run before this one, which had the lock.
		if err := os.Remove(filepath.Join(root, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	p.plan.Config.Console = p.console
	var err error
	if p.machine, err = vm.New(p.plan.Config); err != nil {
		return err
	}
	p.rest = newRest(p.machine.Trim)
	return nil
}

// attend waits for the machine's end and writes down how it came.
func (p *process) attend() int {
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, unix.SIGTERM)
	defer signal.Stop(terminated)
	go func() {
		for range terminated {
			p.server.stop(defaultStop)
		}
	}()
	if p.options.Leash != nil {
		go func() {
			_, _ = io.Copy(io.Discard, p.options.Leash)
			p.server.stop(defaultStop)
		}()
	}
	outcome := p.machine.Wait()
	entry := p.guest.verdict(outcome)
	p.console.end()
	p.output.end()
	if err := p.journal.Add(entry); err != nil {
		slog.Error("write the journal", "name", p.record.Name, "error", err)
		return 1
	}
	return 0
}

// defaultStop is how long a guest may take to switch itself off when nobody says.
const defaultStop = 90 * time.Second

// close gives back what start made.
func (p *process) close() {
	var errs []error
	p.server.close()
	p.guest.close()
	if p.machine != nil {
		p.rest.end()
		errs = append(errs, p.machine.Close())
	}
	if p.plan != nil {
		errs = append(errs, p.plan.Close())
	}
	errs = append(errs, p.console.close(), p.output.close())
	if p.journal != nil {
		errs = append(errs, p.journal.Close())
	}
	if err := errors.Join(errs...); err != nil {
		slog.Error("end the machine", "id", p.options.ID, "error", err)
	}
}
