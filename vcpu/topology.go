package vcpu

import (
	"fmt"
	"math/bits"
)

// Topology says how the vCPUs are arranged. Zero fields are chosen: one socket, one thread a
// core, and as many cores as there are CPUs left.
type Topology struct {
	Sockets int
	Cores   int // a socket
	Threads int // a core
}

// Resolve fills the zero fields for this many CPUs and checks that the arrangement holds
// exactly that many.
func (t Topology) Resolve(cpus int) (Topology, error) {
	if cpus < 1 {
		return t, fmt.Errorf("%d CPUs: a machine needs at least one", cpus)
	}
	for _, n := range []int{t.Sockets, t.Cores, t.Threads} {
		if n < 0 || n > cpus {
			return t, fmt.Errorf("topology %v does not fit %d CPUs", t, cpus)
		}
	}
	if t.Threads == 0 {
		t.Threads = 1
	}
	if t.Sockets == 0 {
		t.Sockets = 1
		if t.Cores != 0 && cpus%(t.Cores*t.Threads) == 0 {
			t.Sockets = cpus / (t.Cores * t.Threads)
		}
	}
	if t.Cores == 0 {
		t.Cores = max(1, cpus/(t.Sockets*t.Threads))
	}
	if uint64(t.Sockets)*uint64(t.Cores)*uint64(t.Threads) != uint64(cpus) {
		return t, fmt.Errorf("topology %v has %d CPUs, not %d", t, t.Sockets*t.Cores*t.Threads, cpus)
	}
	return t, nil
}

// String gives "sockets x cores x threads".
func (t Topology) String() string {
	return fmt.Sprintf("%dx%dx%d (sockets x cores x threads)", t.Sockets, t.Cores, t.Threads)
}

// APICID gives the APIC id of a CPU of a resolved topology, CPUs counted socket by socket and
// core by core. Ids are bit fields of socket, core and thread (Intel SDM volume 3, 10.9.3), so
// they equal the CPU's number unless a level below a further one has a size that is not a power
// of two; then there are gaps.
func (t Topology) APICID(cpu int) uint32 {
	thread := cpu % t.Threads
	core := cpu / t.Threads % t.Cores
	socket := cpu / (t.Threads * t.Cores)
	return uint32(socket<<t.packageBits() | core<<t.threadBits() | thread)
}

// threadBits is how many low bits of an APIC id tell a core's threads apart.
func (t Topology) threadBits() int { return widthOf(t.Threads) }

// packageBits is how many low bits of an APIC id tell a socket's threads apart.
func (t Topology) packageBits() int { return widthOf(t.Threads) + widthOf(t.Cores) }

// perPackage is the number of logical processors in a socket.
func (t Topology) perPackage() int { return t.Cores * t.Threads }

// maxAPICID is the highest id that is used.
func (t Topology) maxAPICID() uint32 {
	return t.APICID(t.Sockets*t.perPackage() - 1)
}

// widthOf is the number of bits that tell n things apart.
func widthOf(n int) int { return bits.Len(uint(n - 1)) }
