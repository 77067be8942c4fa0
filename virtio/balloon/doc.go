// Package balloon is the virtio memory balloon (virtio 1.2, section 5.5): it takes
// memory away from a running guest and gives it back, hears from the guest's
// statistics, and returns to the host what the guest has free anyway (free page
// reporting).
//
//	device.go   the device: features, configuration, target
//	request.go  what the driver sends, parsed and carried out
//	worker.go   one goroutine a queue that carries it out
//	stats.go    the guest's statistics, by name
//
// Package vm makes the device; a transport drives it. Pages leave by
// memory.Discard alone, so a guest can give away nothing but its own RAM; what it
// gives away while it still uses it reads as zero, which is its own affair. The
// device never believes a number that the guest tells about itself: statistics and
// the balloon's size are passed on as what the guest says.
package balloon
