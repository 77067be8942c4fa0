// Package blk is the virtio block device (virtio 1.2, section 5.2): a disk of the
// guest on anything that can be read and written at an offset.
//
//	queue 0 .. n   one lane each: takes requests, parses them, gives them back
//	  | request
//	  +-- inline   the lane itself, while that does not wait (page cache)
//	  +-- ring     io_uring on the disk's file, where the kernel has it
//	  +-- pool     workers that wait: all other disks, and what a ring cannot do
//	  | Disk       guest/disk: raw, qcow2, overlays
//
// A request is parsed into a typed value once ([parse]), then carried out; the
// three ways give the same results. Package vm makes the device from the user's
// configuration; a transport hands it the queues.
//
// The device never waits on a lane, allocates for each request, or answers a
// request before the disk has: an error of the disk is the guest's error, logged
// once with its reason. When Reset returns, neither the device nor the kernel on
// its behalf touches guest memory.
package blk
