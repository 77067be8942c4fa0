package virtiotest

import (
	"runtime/metrics"

	"golang.org/x/sys/unix"
)

// maxHeap is how much more heap a device under the hammer may use than before: far
// above what any device holds for its requests, far below what a guest could ask for.
const maxHeap = 256 << 20

// heapBytes is the heap in use, dead objects included.
func heapBytes() uint64 {
	s := [...]metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s[:])
	return s[0].Value.Uint64()
}

// withoutAccess takes away guest RAM while f runs: whoever touches it in the
// meantime ends the process, with the stack that did it.
func (d *Driver) withoutAccess(f func()) {
	ram, err := d.Memory.Slice(0, memorySize)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := unix.Mprotect(ram, unix.PROT_NONE); err != nil {
		d.t.Fatal(err)
	}
	f()
	if err := unix.Mprotect(ram, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		d.t.Fatal(err)
	}
}
