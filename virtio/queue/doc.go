// Package queue is the device's side of a split virtqueue (virtio 1.2, section
// 2.7): it takes requests that the driver made available, checks every word of
// them, and gives them back as used.
//
//	for {
//		if q.Wait() != nil {        // parked until the driver kicks
//			return
//		}
//		q.Drain(func(c *Chain) ...) // handle all there is, interrupt if wanted
//	}
//
// Devices see [Chain]s only: views of guest memory that have been validated once,
// from descriptors that have been copied once. A driver that breaks a rule breaks
// its queue: the fault is reported once, and nothing more comes out of the queue
// until the device has been reset.
//
// A Queue belongs to one goroutine, its owner; Stop, Kick, and Counters are for
// all. Queues that follow one another on a doorbell (Config.Kick), as after a reset,
// each need the owner before to have ended: it would take their kicks.
//
// Memory ordering. The driver runs on other CPUs, with the guest's own barriers. x86
// keeps the order of loads among loads, of stores among stores, and of a store behind
// earlier loads; it lets a load overtake an earlier store to another place. So plain
// accesses to the indices, which the compiler may neither move nor repeat, acquire and
// release as section 2.7.13 wants it. Full barriers stand where each side stores
// first and then looks at what the other one stored, lest both miss it: Flush (used
// index, then the driver's wish for an interrupt) and EnableKicks (our wish for a
// kick, then the available index). Under the race detector the indices are atomics, so
// that tests with a driver on the Go heap see any access that relies on more.
package queue
