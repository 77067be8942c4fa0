package vmm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/fleet/api"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/virtio/ratelimit"
	"github.com/gureum/gureum/vm"
)

// server is the machine's control socket.
type server struct {
	p        *process
	http     http.Server
	work     sync.WaitGroup
	stopOnce sync.Once
}

// maxRequest bounds the body of a request, in bytes.
const maxRequest = 64 << 10

// serve opens the control socket and answers on it.
func (p *process) serve() error {
	// Nobody but this user gets at it, from its first moment on.
	old := unix.Umask(0o177)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: state.APISocket, Net: "unix"})
	unix.Umask(old)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	s := &server{p: p}
	s.http = http.Server{Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10, ConnState: func(_ net.Conn, is http.ConnState) {
		if is == http.StateClosed {
			p.rest.disturbed()
		}
	}}
	p.server = s
	s.work.Go(func() { _ = s.http.Serve(l) })
	return nil
}

func (s *server) close() {
	if s == nil {
		return
	}
	_ = s.http.Close()
	s.work.Wait()
}

// calls are those of docs/openapi.yaml.
func (s *server) calls() map[string]http.HandlerFunc {
	root := "/" + api.Version
	return map[string]http.HandlerFunc{
		"GET " + root:                    s.answer(s.info),
		"PATCH " + root:                  s.answer(s.update),
		"GET " + root + "/stats":         s.answer(s.stats),
		"POST " + root + "/pause":        s.answer(s.pause),
		"POST " + root + "/resume":       s.answer(s.resume),
		"POST " + root + "/stop":         s.answer(s.stopRequest),
		"POST " + root + "/kill":         s.answer(s.kill),
		"POST " + root + "/console/size": s.answer(s.resize),
		"GET " + root + "/console":       s.attach,
	}
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, handler := range s.calls() {
		mux.HandleFunc(pattern, handler)
	}
	mux.HandleFunc("/", s.answer(func(r *http.Request) (any, error) {
		return nil, &api.StatusError{Status: http.StatusNotFound, Message: r.Method + " " + r.URL.Path + ": there is no such call"}
	}))
	return mux
}

// answer makes a handler of a function that gives what to answer.
func (s *server) answer(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
		out, err := f(r)
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			w.WriteHeader(statusOf(err))
			out = api.Error{Message: err.Error()}
		} else if out == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		_ = json.NewEncoder(w).Encode(out) // a caller that went away needs no answer
	}
}

func statusOf(err error) int {
	var status *api.StatusError
	var input *vm.InputError
	var stateErr *vm.StateError
	switch {
	case errors.As(err, &status):
		return status.Status
	case errors.As(err, &input):
		return http.StatusBadRequest
	case errors.As(err, &stateErr):
		return http.StatusConflict
	}
	return http.StatusInternalServerError
}

// body reads a request's JSON. Words that it does not know are refused, as whoever sent
// them expects something of them.
func body(r *http.Request, v any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return &api.StatusError{Status: http.StatusBadRequest, Message: "body: " + err.Error()}
	}
	return nil
}

func (s *server) info(r *http.Request) (any, error) {
	p := s.p
	i := p.machine.Info()
	out := &api.Info{
		ID: p.record.ID, Name: p.record.Name, Release: p.options.Release, PID: p.pid,
		State: p.machine.State().String(), Stage: string(p.guest.stage()), Started: p.started,
		CPUs: i.CPUs, Memory: i.Memory, Kernel: i.Kernel, Disks: []api.Disk{}, NICs: []api.NIC{},
	}
	for _, d := range p.machine.Disks() {
		out.Disks = append(out.Disks, api.Disk{ID: d.ID, Path: d.Path, Size: d.Capacity})
	}
	for _, n := range p.machine.NICs() {
		out.NICs = append(out.NICs, api.NIC{MAC: net.HardwareAddr(n.MAC[:]).String(), Up: n.LinkUp, Vhost: n.Vhost})
	}
	if p.machine.State() == vm.Running {
		out.Guest = p.guest.info(r.Context())
	}
	return out, nil
}

func (s *server) stats(*http.Request) (any, error) {
	m := s.p.machine
	balloon := m.BalloonState()
	out := &api.Stats{
		Time: time.Now(), CPU: cpuTime(), Exits: m.Exits(),
		Memory:  api.Memory{Size: m.Info().Memory, BalloonTarget: balloon.Target, BalloonActual: balloon.Actual},
		Devices: []api.Queue{}, Blocks: []api.Block{},
	}
	for _, d := range m.Counters() {
		for i, c := range d.Queues {
			out.Devices = append(out.Devices, api.Queue{
				Device: d.Name, Queue: i, Kicks: c.Kicks, Interrupts: c.Interrupts, Suppressed: c.Suppressed,
				Requests: c.Chains, BytesOut: c.BytesOut, BytesIn: c.BytesIn, Errors: c.Errors,
			})
		}
	}
	for _, d := range m.Disks() {
		st := d.Stats
		out.Blocks = append(out.Blocks, api.Block{
			ID: d.ID, Reads: st.Reads, Writes: st.Writes, ReadBytes: st.ReadBytes, WriteBytes: st.WrittenBytes, Errors: st.Errors,
		})
	}
	return out, nil
}

// cpuTime is what all threads of this process took so far, in nanoseconds.
func cpuTime() uint64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return uint64(t.Nano())
}

func (s *server) pause(*http.Request) (any, error) {
	return nil, s.change(s.p.machine.Pause, state.EventPause)
}

func (s *server) resume(*http.Request) (any, error) {
	return nil, s.change(s.p.machine.Resume, state.EventResume)
}

// change carries out a change of state and writes it down.
func (s *server) change(f func() error, event string) error {
	if err := f(); err != nil {
		return err
	}
	return s.p.journal.Add(state.Entry{Event: event})
}

func (s *server) kill(*http.Request) (any, error) {
	s.p.machine.Kill()
	return nil, nil
}

func (s *server) stopRequest(r *http.Request) (any, error) {
	var in api.Stop
	if err := body(r, &in); err != nil {
		return nil, err
	}
	timeout := time.Duration(in.Timeout * float64(time.Second))
	if in.Timeout < 0 || in.Timeout > maxStop.Seconds() {
		return nil, &api.StatusError{Status: http.StatusBadRequest, Message: fmt.Sprintf("timeout %g: give 0 to %g seconds", in.Timeout, maxStop.Seconds())}
	}
	s.stop(timeout)
	return nil, nil
}

// maxStop bounds the time that a guest gets to end.
const maxStop = 24 * time.Hour

// stop asks the guest to end, and kills it when the time is over. A second call can make
// the time shorter.
func (s *server) stop(timeout time.Duration) {
	m := s.p.machine
	if m.State() == vm.Paused {
		_ = m.Resume() // else it could not answer
	}
	s.stopOnce.Do(func() {
		s.work.Go(func() {
			if err := s.p.guest.shutdown(m); err != nil {
				m.Kill()
			}
		})
	})
	s.work.Go(func() {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		select {
		case <-m.Done():
		case <-timer.C:
			m.Kill()
		}
	})
}

func (s *server) update(r *http.Request) (any, error) {
	var in api.Update
	if err := body(r, &in); err != nil {
		return nil, err
	}
	var errs []error
	if in.Balloon != nil {
		errs = append(errs, s.p.machine.SetBalloon(*in.Balloon))
	}
	for _, l := range in.Links {
		errs = append(errs, s.p.machine.SetLink(l.NIC, l.Up))
	}
	for _, l := range in.DiskLimits {
		errs = append(errs, s.p.machine.LimitDisk(l.Disk, rates(l.BPS, l.IOPS)))
	}
	for _, l := range in.NICLimits {
		both := rates(l.BPS, l.PPS)
		errs = append(errs, s.p.machine.LimitNIC(l.NIC, both, both))
	}
	return nil, errors.Join(errs...)
}

func rates(bytes, ops uint64) ratelimit.Config {
	return ratelimit.Config{Bytes: ratelimit.PerSecond(bytes), Ops: ratelimit.PerSecond(ops)}
}

func (s *server) resize(r *http.Request) (any, error) {
	var in api.Size
	if err := body(r, &in); err != nil {
		return nil, err
	}
	s.p.machine.ResizeConsole(in.Rows, in.Cols)
	return nil, nil
}

// attach joins a caller to the console until one of them ends.
func (s *server) attach(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != api.StreamProtocol {
		s.answer(func(*http.Request) (any, error) {
			return nil, &api.StatusError{Status: http.StatusUpgradeRequired, Message: "ask for an upgrade to " + api.StreamProtocol}
		})(w, r)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	s.work.Go(func() { s.join(conn, buffered) })
}

func (s *server) join(conn net.Conn, in io.Reader) {
	watch := s.p.console.watch()
	defer conn.Close()
	_, err := fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", api.StreamProtocol)
	if err != nil {
		s.p.console.leave(watch)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	context.AfterFunc(ctx, func() { s.p.console.leave(watch) })
	s.work.Go(func() {
		// A caller that closes its side goes on reading, as a script does that sends
		// its input; one that is gone makes a write fail.
		_, _ = io.Copy(s.p.machine.ConsoleInput(), in)
	})
	_ = watch.copyTo(conn)
}
