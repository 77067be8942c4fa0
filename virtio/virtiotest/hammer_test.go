package virtiotest

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// faulty names, in the environment, the fault of the device that TestFaultyDevice
// hammers.
const faulty = "GUREUM_TEST_FAULTY_DEVICE"

// TestHammerFindsFaults has the hammer at devices with a fault each, in processes of
// their own, as some of the faults end the process.
func TestHammerFindsFaults(t *testing.T) {
	tests := map[string]string{
		"none":             "",
		"touch after rest": "fault address",
		"touch outside":    "fault address",
		"give back twice":  "chains that it did not have",
		"too much":         "more written than",
		"panic":            "index out of range",
		"goroutine":        "found unexpected goroutines",
		"hoard":            "MiB of heap are in use",
		"config":           "out of range",
	}
	for fault, want := range tests {
		t.Run(fault, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestFaultyDevice$", "-test.v")
			cmd.Env = append(os.Environ(), faulty+"="+fault)
			out, err := cmd.CombinedOutput()
			if (err != nil) != (want != "") || !strings.Contains(string(out), want) {
				t.Errorf("%v, want a failure with %q:\n%.3000s", err, want, out)
			}
		})
	}
}

// TestFaultyDevice is the other process of TestHammerFindsFaults. By itself it
// hammers a device without a fault.
func TestFaultyDevice(t *testing.T) {
	fault := os.Getenv(faulty)
	Hammer(t, func() virtio.Device { return &faultyDevice{fault: fault} }, 5000, 1, []byte("seed"))
}

// faultyDevice answers each request with one byte, and has the named fault.
type faultyDevice struct {
	fault string
	a     virtio.Activation
	work  sync.WaitGroup
	heap  [][]byte
	n     int
}

func (f *faultyDevice) Type() uint32               { return 63 }
func (f *faultyDevice) Features() uint64           { return 0 }
func (f *faultyDevice) QueueSizes() []uint16       { return []uint16{64} }
func (f *faultyDevice) WriteConfig(uint64, []byte) {}
func (f *faultyDevice) Close() error               { return nil }

func (f *faultyDevice) ReadConfig(off uint64, p []byte) {
	config := make([]byte, 64)
	if f.fault == "config" {
		copy(p, config[off:])
	}
}

func (f *faultyDevice) Activate(a virtio.Activation) error {
	f.a = a
	q := a.Queues[0]
	if q == nil {
		return nil
	}
	f.work.Go(func() { q.Serve(func(c *queue.Chain) (uint32, error) { return f.handle(q, c), nil }) })
	return nil
}

func (f *faultyDevice) handle(q *queue.Queue, c *queue.Chain) uint32 {
	f.n++
	switch f.fault {
	case "give back twice":
		if f.n%100 == 0 {
			q.Put(c.Head, 0)
		}
	case "too much":
		if f.n%100 == 0 {
			return uint32(c.WriteLen) + 1
		}
	case "panic":
		var first [1]byte
		c.Read(first[:])
		return uint32([]byte("seed")[int(first[0])&7])
	case "goroutine":
		if f.n == 1000 {
			go func() { time.Sleep(time.Minute) }()
		}
	case "hoard":
		f.heap = append(f.heap, make([]byte, 1<<18))
	case "touch outside":
		if f.n == 1000 {
			touchBehind(f.a.Memory)
		}
	}
	return uint32(c.WriteAt([]byte{1}, 0))
}

func (f *faultyDevice) Reset() {
	if q := f.a.Queues[0]; q != nil {
		q.Stop()
	}
	f.work.Wait()
	if f.fault == "touch after rest" {
		m := f.a.Memory
		go func() { // until the hammer has seen it, on the busiest of machines
			for start := time.Now(); time.Since(start) < time.Second; {
				_ = m.WriteU32(scratch, 1)
			}
		}()
	}
}
