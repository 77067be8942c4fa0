// Package result holds what a run of 'gureum bench' found: samples, never only means,
// with what is needed to judge them. Its JSON form is a file that later runs are compared
// with, so fields are added but neither renamed nor given another meaning; docs/bench.schema.json
// describes it.
package result

import "time"

// Schema is the version of the JSON form.
const Schema = 1

// Report is what one run found.
type Report struct {
	Schema int `json:"schema"`
	// Version of gureum, and the commit that it was built from, as far as it knows.
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// Seconds that the run took, by the clock of the host that it ran on.
	Seconds float64 `json:"seconds"`
	// Clock tells what the unit "ns" stands for: see the Clock constants.
	Clock       string      `json:"clock"`
	Environment Environment `json:"environment"`
	// Noise is what else happened on the host; reports before it was added have none.
	Noise *Noise `json:"noise,omitempty"`
	// Interrupted says that not all that was asked for is there.
	Interrupted bool     `json:"interrupted,omitempty"`
	Series      []Series `json:"series"`
	// Notes tell what is missing and why, and what is to be doubted.
	Notes []Note `json:"notes"`
}

// What time is in a report.
const (
	// ClockWall is the host's monotonic clock.
	ClockWall = "wall"
	// ClockInstructions is the lab's deterministic mode: a nanosecond is one instruction
	// of the whole emulated host. It says nothing of cycles and caches.
	ClockInstructions = "instructions"
)

// Units of samples.
const (
	Nanoseconds = "ns"
	Bytes       = "bytes"
	PerSecond   = "per second" // operations
	BytesPerSec = "bytes/s"
	Count       = "count"
	Ratio       = "ratio"
)

// Better says in which direction a figure improves.
type Better string

// The directions.
const (
	Lower   Better = "lower"
	Higher  Better = "higher"
	Neither Better = "" // it is told, not judged
)

// Series is one figure of one subject, measured several times.
type Series struct {
	Key
	Unit    string    `json:"unit"`
	Better  Better    `json:"better,omitempty"`
	Samples []float64 `json:"samples"` // one a run, in the order of the runs
	// Distribution is that of the single events behind the samples, where each sample
	// sums up many: round trips, requests.
	Distribution *Distribution `json:"distribution,omitempty"`
}

// Key tells series of a report apart, and finds the same in another.
type Key struct {
	// Group is the word of the command line: exits, boot, footprint, cpu, block, net, density.
	Group string `json:"group"`
	// Figure is what was measured, as "PIO write" or "exec to user space".
	Figure string `json:"figure"`
	// Case is under which circumstances, as "vmlinux, 2 CPUs, 256M, mmio"; "" if there is one only.
	Case string `json:"case,omitempty"`
	// Subject is who: "gureum", "host", or a peer as "qemu".
	Subject string `json:"subject"`
}

// Distribution sums up many events, in the unit of its series.
type Distribution struct {
	Events uint64  `json:"events"`
	Min    float64 `json:"min"`
	P50    float64 `json:"p50"`
	P99    float64 `json:"p99"`
	P999   float64 `json:"p99_9"`
	Max    float64 `json:"max"`
	// Buckets count events up to and with their bound, without those of smaller bounds.
	Buckets []Bucket `json:"buckets,omitempty"`
}

// Bucket is one bar of a histogram.
type Bucket struct {
	UpTo   float64 `json:"up_to"`
	Events uint64  `json:"events"`
}

// Note is a sentence for the reader of a report.
type Note struct {
	// Group that it is about, "" for all.
	Group string `json:"group,omitempty"`
	// Kind is one of the Kind constants.
	Kind string `json:"kind"`
	Text string `json:"text"`
}

// Kinds of notes.
const (
	KindMissing = "missing" // a peer or a tool is not there, or does not work
	KindNoise   = "noise"   // the host was too busy to conclude
	KindMethod  = "method"  // what must be known to read the figures
	KindError   = "error"   // a measurement failed
)

// Noise is what the host did besides measuring.
type Noise struct {
	// Steal is the share of all CPUs' time that the host's own hypervisor gave to others, 0 to 1.
	Steal float64 `json:"steal"`
	// Throttled is how often CPUs were slowed down for their heat or power.
	Throttled uint64 `json:"throttled"`
	// Load is the load average of the minute before the run (proc_loadavg(5)).
	Load float64 `json:"load"`
}

// Environment is where a report comes from.
type Environment struct {
	CPU         string   `json:"cpu"` // model name
	CPUs        int      `json:"cpus"`
	MemoryBytes uint64   `json:"memory_bytes"`
	Kernel      string   `json:"kernel"` // release and version
	Mitigations []string `json:"mitigations,omitempty"`
	Governor    string   `json:"governor,omitempty"`
	// KVM is the module: kvm_intel or kvm_amd, and whether this is itself a guest.
	KVM         string `json:"kvm"`
	Virtual     string `json:"virtual,omitempty"` // hypervisor that this host runs on, "" if none is seen
	SMT         string `json:"smt,omitempty"`
	THP         string `json:"thp,omitempty"` // transparent huge pages
	Clocksource string `json:"clocksource,omitempty"`
	// Peers are the versions of those measured, by subject.
	Peers map[string]string `json:"peers,omitempty"`
}
