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
// all.
package queue
