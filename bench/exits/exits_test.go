package exits

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gureum/gureum/bench/peer"
	"github.com/gureum/gureum/bench/result"
)

// fake is a VMM that answers each figure but the IPI with a number of events, the first of
// which takes 7 ns and the others 9.
const fake = `#!/bin/sh
echo gureum-exits clock 80000000 1
for word in $*; do case "$word" in exits.run=*) list=${word#exits.run=} ;; esac; done
for one in $(echo $list | tr , ' '); do
	case $one in
	ipi:*) echo gureum-exits missing ipi there is no second CPU ;;
	*) echo "gureum-exits events ${one%:*} ${one#*:} 7,2*$(printf %x $((${one#*:} - 1)))" ;;
	esac
done
echo gureum-exits end
`

func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vmm")
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func find(t *testing.T, text string) peer.Peer {
	t.Helper()
	p, err := peer.Find(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestMeasure(t *testing.T) {
	steps := 0
	c := Config{
		Peers: []peer.Peer{
			peer.Gureum(script(t, fake)), find(t, "qemu="+script(t, "#!/bin/sh\necho no such machine; exit 1\n")),
			find(t, "cloud-hypervisor="+script(t, fake)), find(t, "kvmtool="+script(t, fake)),
		},
		Guest: peer.Guest{MemoryMiB: 256}, Scale: 100, Runs: 3, Dir: t.TempDir(), Progress: func(string) { steps++ },
	}
	series, notes, err := Measure(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	device, of := 0, map[string]int{}
	told := traced(figures, false)
	for _, f := range told {
		if f.device {
			device++
		}
	}
	for _, s := range series {
		of[s.Subject]++
		if len(s.Samples) != 3 || s.Samples[0] != 9 || s.Distribution.Min != 7 || s.Distribution.P50 != 9 || s.Distribution.Events%3 != 0 {
			t.Errorf("%+v: %v, %+v", s.Key, s.Samples, s.Distribution)
		}
	}
	// The IPI is missing, the device is measured behind two transports, or behind PCI alone.
	if of["gureum"] != len(told)-1+device || of["cloud-hypervisor"] != len(told)-1 || len(of) != 2 {
		t.Errorf("series: %v", of)
	}
	var text []string
	for _, n := range notes {
		text = append(text, n.Kind+": "+n.Text)
	}
	all := strings.Join(text, "\n")
	for _, want := range []string{
		"missing: gureum, virtio over MMIO: IPI to a halted CPU and back is not measured: there is no second CPU",
		"missing: cloud-hypervisor, virtio over MMIO: virtio over MMIO", "missing: kvmtool, virtio over PCI: a kernel that is not a bzImage",
		"error: qemu, virtio over MMIO: ", "no such machine",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in\n%s", want, all)
		}
	}
	if left, err := os.ReadDir(c.Dir); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
	// gureum has two kinds of runs, Cloud Hypervisor one, and QEMU fails in the first of each.
	if steps != 3*3+2 || steps > c.Steps() {
		t.Errorf("%d steps", steps)
	}
}

// TestInterruptedMeasure gives what there was before.
func TestInterruptedMeasure(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	steps := 0
	series, _, err := Measure(ctx, Config{
		Peers: []peer.Peer{peer.Gureum(script(t, fake))}, Guest: peer.Guest{MemoryMiB: 256}, Scale: 100, Runs: 9, Dir: t.TempDir(),
		Progress: func(string) {
			if steps++; steps == 3 {
				cancel(stop)
			}
		},
	})
	if !errors.Is(err, stop) || len(series) == 0 || len(series[0].Samples) != 1 {
		t.Errorf("%d series, %v", len(series), err)
	}
}

// TestTooFewEvents are no figure.
func TestTooFewEvents(t *testing.T) {
	short := script(t, "#!/bin/sh\necho gureum-exits clock 1 0\necho gureum-exits events pio-write 1 5\necho gureum-exits end\n")
	series, notes, err := Measure(t.Context(), Config{
		Peers: []peer.Peer{peer.Gureum(short)}, Guest: peer.Guest{MemoryMiB: 256}, Scale: 100, Runs: 2, Dir: t.TempDir(),
	})
	if err != nil || len(series) > 0 {
		t.Errorf("%v, %v", series, err)
	}
	if want := fmt.Sprintf("PIO write: 1 events of %d", figures[0].events); len(notes) == 0 || notes[0].Kind != result.KindError || !strings.Contains(notes[0].Text, want) {
		t.Errorf("%+v", notes)
	}
}

// TestParseWakes takes the next entry after each interrupt, and the last events of all.
func TestParseWakes(t *testing.T) {
	const text = `# tracer: nop
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
           vcpu0-171     [000] d..1.     6305000000: kvm_entry: vcpu 0, rip 0x200000
           vcpu1-172     [001] d..1.     6305001500: kvm_entry: vcpu 1, rip 0x200000
           vcpu0-171     [000] d..1.     6305003000: kvm_entry: vcpu 0, rip 0x200010
           vcpu0-171     [000] d..1.     6305009000: kvm_entry: vcpu 0, rip 0x200010
 qemu-system-x86-169     [000] d..2.     6305010000: kvm_apic_accept_irq: apicid 0 vec 64 (Fixed|edge)
 qemu-system-x86-169     [000] d..2.     6305010100: kvm_apic_accept_irq: apicid 0 vec 64 (Fixed|edge) (coalesced)
           vcpu0-171     [000] d..1.     6305011000: kvm_entry: vcpu 0, rip 0x200010
          gureum-169     [000] d..2.     6305012000: kvm_apic_accept_irq: apicid 0 vec 64 (Fixed|edge)
           vcpu0-171     [000] d..1.     6305016000: kvm_entry: vcpu 0, rip 0x200010
     kworker/0:1-12      [000] d..2.     6305001000: kvm_apic_accept_irq: apicid 0 vec 64 (Fixed|edge)
          gureum-169     [000] d..2.     6305017000: kvm_apic_accept_irq: apicid 0 vec 64 (Fixed|edge)
`
	wakes := parseWakes(text, 0.5)
	if want := []float64{1000, 500, 2000}; !slices.Equal(wakes, want) {
		t.Errorf("%v, want %v", wakes, want)
	}
	for events, want := range map[int][]float64{2: {500, 2000}, 3: {500, 1000, 2000}, 9: {500, 1000, 2000}} {
		if got := lastWakes(wakes, events); !slices.Equal(got, want) {
			t.Errorf("the last %d: %v, want %v", events, got, want)
		}
	}
	for _, none := range []string{"", "# tracer: nop\n", " x-1 [000] d..1. 6.305311: kvm_entry: vcpu 0, rip 0x1\n", " x-1 [000] d..1. 99999999999999999999: kvm_entry: vcpu 0, rip 0x1\n"} {
		if got := parseWakes(none, 1); len(got) > 0 {
			t.Errorf("%q: %v", none, got)
		}
	}
}

func TestScaled(t *testing.T) {
	for percent, want := range map[int][2]int{100: {1000, 16}, 20: {200, 3}, 1: {10, 1}, 10000: {maxEvents, 16}} {
		f := scaled(percent)
		if got := [2]int{f[0].events, f[len(f)-1].events}; got != want || figures[0].events != 1000 {
			t.Errorf("%d%%: %d events of the first and the last, want %d", percent, got, want)
		}
	}
}

func TestFigures(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range figures {
		if seen[f.name] || seen[f.event] && !f.traced || f.events < 1 || f.events > maxEvents {
			t.Errorf("%+v", f)
		}
		seen[f.name], seen[f.event] = true, true
	}
}
