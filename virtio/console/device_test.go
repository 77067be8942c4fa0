package console

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/queue"
	"github.com/gureum/gureum/virtio/virtiotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// syncBuffer is a writer that a test can look at.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newDevice(t testing.TB, ports ...PortConfig) *Device {
	t.Helper()
	d, err := New(Config{Ports: ports})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestNewRefuses(t *testing.T) {
	long := PortConfig{Name: string(make([]byte, MaxName+1))}
	for _, ports := range [][]PortConfig{
		nil, make([]PortConfig, MaxPorts+1), {{Name: "a"}, {Name: "a"}}, {long},
	} {
		if _, err := New(Config{Ports: ports}); err == nil {
			t.Errorf("%d ports are taken", len(ports))
		}
	}
}

// plain are the features of a driver that knows of one console only.
const plain = virtiotest.AllFeatures &^ (1 << FeatureMultiport)

func TestConsoleBothWays(t *testing.T) {
	var out syncBuffer
	dev := newDevice(t, PortConfig{Console: true, Output: &out})
	d := virtiotest.New(t, dev)
	// Early output, without a driver.
	d.Core.WriteConfig(configEmerg, []byte{'!', 0, 0, 0})
	// Input that comes before the guest is there waits for it.
	if _, err := dev.Port(0).Write([]byte("early ")); err != nil {
		t.Fatal(err)
	}
	d.Start(plain)
	rx, tx := d.Queue(0), d.Queue(1)
	a, b := rx.Submit(nil, 4), rx.Submit(nil, 1, 100)
	rx.Kick()
	rx.Wait(b)
	if got := string(a.AllWritable()) + string(b.AllWritable()[:2]); got != "early " {
		t.Errorf("input is %q", got)
	}
	r := rx.Submit(nil, 10)
	rx.Kick()
	if _, err := dev.Port(0).Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	if n := rx.Wait(r); n != 4 || string(r.Writable(0)[:4]) != "late" {
		t.Errorf("%d bytes, %q", n, r.Writable(0))
	}
	tx.Do([][]byte{[]byte("hello, "), []byte("world")})
	if err := dev.Port(0).Flush(t.Context()); err != nil || out.String() != "!hello, world" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestSize(t *testing.T) {
	dev := newDevice(t, PortConfig{Console: true})
	d := virtiotest.New(t, dev)
	size := func() [2]uint16 {
		var b [4]byte
		d.Core.ReadConfig(0, b[:])
		return [2]uint16{binary.LittleEndian.Uint16(b[2:]), binary.LittleEndian.Uint16(b[:])}
	}
	if size() != [2]uint16{24, 80} {
		t.Errorf("rows and columns are %v", size())
	}
	dev.Resize(30, 90)
	d.Start(plain)
	dev.Resize(33, 101)
	dev.Resize(33, 101)
	dev.Resize(0, 5)
	if size() != [2]uint16{33, 101} || d.ConfigInterrupts() != 1 {
		t.Errorf("rows and columns are %v, %d interrupts", size(), d.ConfigInterrupts())
	}
}

// guest is the driver's side of VIRTIO_CONSOLE_F_MULTIPORT.
type guest struct {
	*virtiotest.Driver
	t *testing.T
}

func (g *guest) send(id uint32, event, value uint16) {
	g.t.Helper()
	b := binary.LittleEndian.AppendUint32(nil, id)
	b = binary.LittleEndian.AppendUint16(b, event)
	g.Queue(queueControl + 1).Do([][]byte{binary.LittleEndian.AppendUint16(b, value)})
}

// expect waits for a control message.
func (g *guest) expect(id uint32, event, value uint16, extra string) {
	g.t.Helper()
	r, n := g.Queue(queueControl).Do(nil, 128)
	b := r.Writable(0)[:n]
	if len(b) < controlSize {
		g.t.Fatalf("a message of %d bytes", len(b))
	}
	gotID, gotEvent, gotValue := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:])
	if gotID != id || gotEvent != event || gotValue != value || string(b[controlSize:]) != extra {
		g.t.Fatalf("port %d event %d value %d %q; want port %d event %d value %d %q", gotID, gotEvent, gotValue, b[controlSize:], id, event, value, extra)
	}
}

func TestPorts(t *testing.T) {
	var out, data syncBuffer
	opened := make(chan bool, 4)
	dev := newDevice(t, PortConfig{Console: true, Output: &out},
		PortConfig{Name: "org.example.data", Output: &data, Opened: func(on bool) { opened <- on }})
	g := &guest{virtiotest.New(t, dev), t}
	g.Start(virtiotest.AllFeatures)
	g.send(99, eventPortReady, 1) // there is none
	g.send(0, 77, 1)              // means nothing
	g.Queue(queueControl + 1).Do([][]byte{{1, 2, 3}})
	g.send(0xFFFFFFFF, eventDeviceReady, 1)
	g.expect(0, eventPortAdd, 1, "")
	g.expect(1, eventPortAdd, 1, "")
	g.send(0, eventPortReady, 1)
	g.expect(0, eventConsolePort, 1, "")
	g.expect(0, eventResize, 1, "\x50\x00\x18\x00")
	g.expect(0, eventPortOpen, 1, "")
	g.send(1, eventPortReady, 1)
	g.expect(1, eventPortName, 1, "org.example.data")
	dev.Port(1).SetConnected(true)
	g.expect(1, eventPortOpen, 1, "")
	dev.Resize(25, 81)
	g.expect(0, eventResize, 1, "\x51\x00\x19\x00")

	// Input waits until the guest has the port open.
	if _, err := dev.Port(1).Write([]byte("for later")); err != nil {
		t.Fatal(err)
	}
	rx := g.Queue(firstMoreQueue)
	r := rx.Submit(nil, 64)
	rx.Kick()
	time.Sleep(time.Millisecond)
	if rx.Done(r) {
		t.Error("a closed port got input")
	}
	g.send(1, eventPortOpen, 1)
	if n := rx.Wait(r); n != 9 || !<-opened {
		t.Errorf("%d bytes of input", n)
	}
	g.Queue(firstMoreQueue + 1).Do([][]byte{[]byte("data")})
	g.Queue(1).Do([][]byte{[]byte("text")})
	for p, want := range []string{"text", "data"} {
		if err := dev.Port(p).Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := []*syncBuffer{&out, &data}[p].String(); got != want {
			t.Errorf("port %d: %q", p, got)
		}
	}
	g.send(1, eventPortOpen, 0)
	if <-opened {
		t.Error("the guest closed its port")
	}
	dev.Port(1).SetConnected(false)
	g.expect(1, eventPortOpen, 0, "")
}

// TestEarlyInput has input wait until the driver takes it: before it has made the
// port it throws input away.
func TestEarlyInput(t *testing.T) {
	dev := newDevice(t, PortConfig{Console: true})
	if _, err := dev.Port(0).Write([]byte("early")); err != nil {
		t.Fatal(err)
	}
	g := &guest{virtiotest.New(t, dev), t}
	for range 2 {
		g.Start(virtiotest.AllFeatures)
		r := g.Queue(0).Submit(nil, 64)
		g.Queue(0).Kick()
		g.send(0, eventPortReady, 1)
		if g.Queue(0).Done(r) {
			t.Error("a port that is not open got input")
		}
		g.Reset()
	}
	g.Start(virtiotest.AllFeatures)
	r := g.Queue(0).Submit(nil, 64)
	g.Queue(0).Kick()
	g.send(0, eventPortReady, 1)
	g.send(0, eventPortOpen, 1)
	if n := g.Queue(0).Wait(r); n != 5 {
		t.Errorf("%d bytes of input", n)
	}
}

func TestInputIsNeverLost(t *testing.T) {
	dev := newDevice(t, PortConfig{Console: true})
	d := virtiotest.New(t, dev)
	sent := make([]byte, 20*inputBuffer)
	for i := range sent {
		sent[i] = byte(rand.Uint32())
	}
	result := make(chan error)
	go func() {
		for rest := sent; len(rest) > 0; {
			n := min(len(rest), 1+rand.IntN(40000))
			if _, err := dev.Port(0).Write(rest[:n]); err != nil {
				result <- err
				return
			}
			rest = rest[n:]
		}
		result <- nil
	}()
	d.Start(plain)
	var got []byte
	for len(got) < len(sent) {
		if rand.IntN(100) == 0 {
			d.Reset()
			d.Start(plain)
		}
		r, n := d.Queue(0).Do(nil, 1+rand.IntN(5000))
		got = append(got, r.Writable(0)[:n]...)
	}
	if err := <-result; err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%v; the input came through changed", err)
	}
}

func TestWriteEndsAtClose(t *testing.T) {
	dev := newDevice(t, PortConfig{Console: true})
	result := make(chan error)
	go func() {
		n, err := dev.Port(0).Write(make([]byte, inputBuffer+1))
		if n > inputBuffer { // less if the device was closed before it began
			err = errors.New("wrong count")
		}
		result <- err
	}()
	time.Sleep(time.Millisecond)
	if err := dev.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-result; !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// gate is a writer that takes nothing until it is opened.
type gate struct {
	open chan struct{}
	n    int
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	g.n += len(p)
	return len(p), nil
}

// TestSlowWriter has a console drop what nobody takes, and a port wait; neither
// keeps a reset from ending.
func TestSlowWriter(t *testing.T) {
	for _, console := range []bool{true, false} {
		sink := &gate{open: make(chan struct{})}
		dev := newDevice(t, PortConfig{Console: true}, PortConfig{Console: console, Output: sink})
		dev.Port(1).out.patience = 10 * time.Millisecond
		d := virtiotest.New(t, dev)
		d.Start(virtiotest.AllFeatures)
		tx := d.Queue(firstMoreQueue + 1)
		var last *virtiotest.Request
		for range 5 {
			last = tx.Submit([][]byte{make([]byte, outputBuffer)})
		}
		tx.Kick()
		if console {
			tx.Wait(last)
		} else {
			time.Sleep(50 * time.Millisecond)
			if tx.Done(last) {
				t.Error("a port did not wait for its writer")
			}
		}
		d.Reset()
		close(sink.open)
		if err := dev.Port(1).Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.Close()
		if got := sink.n + int(dev.Port(1).Dropped()); console && got != 5*outputBuffer {
			t.Errorf("%d bytes taken or dropped", got)
		}
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestBrokenWriter(t *testing.T) {
	dev := newDevice(t, PortConfig{Console: true, Output: failing{}})
	dev.ports[0].out.write([][]byte{[]byte("abc")}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := dev.Port(0).Flush(ctx); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	dev.ports[0].out.write([][]byte{make([]byte, 3*outputBuffer)}, nil)
	if n := dev.Port(0).Dropped(); n != 3+3*outputBuffer {
		t.Errorf("%d bytes dropped", n)
	}
	if err := dev.Close(); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

func TestOutputDoesNotAllocate(t *testing.T) {
	dev := newDevice(t, PortConfig{Console: true})
	o, stop := &dev.ports[0].out, make(chan struct{})
	parts := [][]byte{make([]byte, 100), make([]byte, 10)}
	o.write(parts, stop)
	if n := testing.AllocsPerRun(1000, func() { o.write(parts, stop) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if err := dev.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestHostileDriver(t *testing.T) {
	for seed := range uint64(4) {
		virtiotest.Hammer(t, func() virtio.Device {
			return newDevice(t, PortConfig{Console: true}, PortConfig{Name: "a"}, PortConfig{Name: "b"})
		}, 5000, seed, []byte{0, 0, 0, 0, 3, 0, 1, 0}, []byte{1, 0, 0, 0, 6, 0, 1, 0}, []byte{0, 0, 0, 0, 0, 0, 1, 0})
	}
}

// FuzzRequest gives the device control messages. What it says in turn is bounded.
func FuzzRequest(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 3, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		dev := newDevice(t, PortConfig{Console: true}, PortConfig{Name: "name"})
		s := &controlSender{device: dev}
		for ; len(b) > 0; b = b[min(len(b), controlSize):] {
			part := b[:min(len(b), controlSize)]
			if n, err := dev.hear(&queue.Chain{Readable: [][]byte{part}, ReadLen: uint64(len(part))}); n != 0 || err != nil {
				t.Fatal(n, err)
			}
		}
		said := 0
		for s.waiting() {
			m := s.next()
			if len(m) < controlSize || len(m) > controlSize+MaxName {
				t.Fatalf("a message of %d bytes", len(m))
			}
			if said++; said > 2*numSays {
				t.Fatal("it does not stop talking")
			}
		}
		if err := dev.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
