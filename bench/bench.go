// Package bench measures what 'gureum bench' does not: disk and network by the programs that
// others measure with, in guests of gureum and QEMU side by side, and a host full of
// machines. What gureum bench is made of is in the folders below.
//
// The bench program calls it, on a host with KVM. In the lab's deterministic mode
// time is the count of instructions that the whole host executed, one a
// nanosecond: figures then agree from run to run, but they are not cycles, and
// say nothing of caches.
package bench

// Contestant is one VMM, with the command line that boots the guest.
type Contestant struct {
	Name string
	Args []string
	// Peer says that a failure concerns this contestant alone: it is told on
	// progress, and the contestant is left out.
	Peer bool
}
