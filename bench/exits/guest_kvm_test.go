package exits

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gureum/gureum/bench/result"
	"github.com/gureum/gureum/vm"
)

// testTimeout bounds what a guest may take in a test; the lab is slow.
const testTimeout = 2 * time.Minute

// console is what the guest writes.
type console struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.Write(p)
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.String()
}

// run has the guest carry out figures in a machine of ours, and gives what it wrote and the
// machine's exits to user space.
func run(t *testing.T, transport vm.Transport, asked []figure) (string, map[string]uint64) {
	t.Helper()
	dir := t.TempDir()
	kernel, disk := filepath.Join(dir, "kernel"), filepath.Join(dir, "disk")
	for path, data := range map[string][]byte{kernel: image, disk: make([]byte, diskBytes)} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out console
	m, err := vm.New(vm.Config{
		Kernel: kernel, NoUserLand: true, Append: request(asked), CPUs: cpus, Transport: transport, CacheDir: dir,
		RNG: vm.RNG{Off: true}, Balloon: vm.Balloon{Off: true}, Disks: []vm.Disk{{Path: disk}}, Console: &out,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-m.Done():
	case <-time.After(testTimeout):
		t.Fatalf("the guest runs still:\n%s", out.String())
	}
	if o := m.Wait(); o.Reason != vm.PoweredOff {
		t.Errorf("ended by %s (%v):\n%s", o.Reason, o.Err, out.String())
	}
	return out.String(), m.Exits()
}

// TestKVMGuestMeasures has all figures measured behind each transport.
func TestKVMGuestMeasures(t *testing.T) {
	var asked []figure
	for _, f := range traced(figures, false) {
		f.events = min(f.events, 50)
		asked = append(asked, f)
	}
	for _, transport := range []vm.Transport{vm.TransportMMIO, vm.TransportPCI} {
		t.Run(string(transport), func(t *testing.T) {
			text, _ := run(t, transport, asked)
			report, err := ParseReport(text)
			if err != nil {
				t.Fatalf("%v:\n%s", err, text)
			}
			if len(report.Missing) > 0 {
				t.Errorf("missing: %v", report.Missing)
			}
			for _, f := range asked {
				events := report.Events[f.event]
				if len(events) != f.events {
					t.Errorf("%s: %d events of %d", f.name, len(events), f.events)
					continue
				}
				// Most touches 4 KiB apart are of memory that came with the one before.
				if most := result.Quantile(events, 1); most <= 0 || f.event != "touch-4k" && result.Median(events) <= 0 {
					t.Errorf("%s: median %v, maximum %v", f.name, result.Median(events), most)
				}
			}
		})
	}
}

// exitsOf are the exits to user space less those for the console: one a byte, and a look at
// the state of the port before each 16 of them.
func exitsOf(console string, all map[string]uint64) map[string]uint64 {
	const fifo = 16
	exits := maps.Clone(all)
	n := uint64(len(console))
	exits["io"] -= n + (n+fifo-1)/fifo
	return exits
}

// TestKVMExitsOfAnEvent: an event that user space answers takes one exit to it, and one that
// KVM answers takes none. More events are compared with fewer, which takes off what the guest
// does beside them.
func TestKVMExitsOfAnEvent(t *testing.T) {
	const few, many = 20, 120
	for _, f := range traced(figures, false) {
		reason := map[string]string{"pio-write": "io", "pio-read": "io", "mmio-write": "mmio", "mmio-read": "mmio"}[f.event]
		fewer, more := f, f
		fewer.events, more.events = few, many
		if f.event == "touch-2m" || f.event == "touch-all" {
			fewer.events, more.events = 2, 10
		}
		text, all := run(t, vm.TransportMMIO, []figure{fewer})
		before := exitsOf(text, all)
		text, all = run(t, vm.TransportMMIO, []figure{more})
		after := exitsOf(text, all)
		for _, r := range []string{"io", "mmio"} {
			want := 0
			if r == reason {
				want = many - few
			}
			// Nothing follows the write that switches the machine off.
			if got := int(after[r]) - int(before[r]); got != want {
				t.Errorf("%s: %d exits by %s for %d events, want %d (before %v, after %v)", f.name, got, r, more.events-fewer.events, want, before, after)
			}
		}
	}
}
