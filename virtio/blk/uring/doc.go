// Package uring is a small binding of io_uring: vectored reads and writes and
// data syncs of one file, handed to the kernel many at a time by one system call,
// their results read from shared memory.
//
//	owner:  Readv, Writev, Sync ... fill entries
//	        Submit                  one io_uring_enter for all of them
//	        Next                    results, in any order
//
// A [Ring] belongs to one goroutine, but not to one thread. Results can ring an
// eventfd, so that the owner waits for them and for other things at once. The
// block device (virtio/blk) is its user.
//
// It never allocates after New, never waits unless asked to, and knows nothing
// of guests: whoever hands it memory keeps that mapped until the result is there.
// Constants and structures are those of include/uapi/linux/io_uring.h.
package uring
