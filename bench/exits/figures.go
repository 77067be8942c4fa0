package exits

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gureum/gureum/bench/peer"
)

// figure is a kind of event.
type figure struct {
	name string
	// event is the guest's word for it (guest/events.c).
	event string
	// events is how many a run has at a scale of 100%. The guest holds at most maxEvents.
	events int
	// memory says that events take memory, so that there are no more at a larger scale.
	memory bool
	// device says that it is about a virtio device, so about how that is reached.
	device bool
	// traced says that it is not the guest that tells it but the host, in a run of its own: trace
	// events take time.
	traced bool
}

// figures is the order in which they are reported. A run of the guest carries them out in
// this order, too.
var figures = []figure{
	{name: "PIO write", event: "pio-write", events: 1000},
	{name: "PIO read", event: "pio-read", events: 1000},
	{name: "MMIO write", event: "mmio-write", events: 1000, device: true},
	{name: "MMIO read", event: "mmio-read", events: 1000, device: true},
	{name: "ioeventfd", event: "ioeventfd", events: 1000, device: true},
	{name: "CPUID", event: "cpuid", events: 1000},
	{name: "hypercall", event: "hypercall", events: 1000},
	{name: "RDMSR", event: "rdmsr", events: 1000},
	{name: "WRMSR", event: "wrmsr", events: 1000},
	{name: "HLT wake-up by a device", event: "hlt-device", events: 1000, device: true},
	{name: "HLT wake-up, interrupt to guest", event: "hlt-device", events: 1000, device: true, traced: true},
	{name: "HLT wake-up by TSC deadline, lateness", event: "hlt-timer", events: 1000},
	{name: "IPI to a halted CPU and back", event: "ipi", events: 1000},
	{name: "first touch of memory, 4 KiB apart", event: "touch-4k", events: 2048, memory: true},
	{name: "first touch of memory, 2 MiB apart", event: "touch-2m", events: 16, memory: true},
	{name: "first touch of memory, all of 2 MiB", event: "touch-all", events: 16, memory: true},
}

// traced are those figures that the host tells, or all others.
func traced(figures []figure, is bool) []figure {
	return slices.DeleteFunc(slices.Clone(figures), func(f figure) bool { return f.traced != is })
}

// transports are the ways to reach a device, and what their cases are called.
var transports = []struct {
	peer.Transport
	name string
}{
	{peer.MMIO, "virtio over MMIO"},
	{peer.PCI, "virtio over PCI"},
}

// scaled are the figures with so many percent of their events.
func scaled(percent int) []figure {
	all := slices.Clone(figures)
	for i, f := range all {
		most := maxEvents
		if f.memory {
			most = f.events
		}
		all[i].events = min(max(f.events*percent/100, 1), most)
	}
	return all
}

// runWord begins the word of the guest's command line that says what to measure.
const runWord = "exits.run="

// request is that word.
func request(figures []figure) string {
	var words []string
	for _, f := range figures {
		words = append(words, fmt.Sprintf("%s:%d", f.event, f.events))
	}
	return runWord + strings.Join(words, ",")
}
