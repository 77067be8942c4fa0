// Package pmem is the virtio persistent memory device (virtio 1.2, section 5.19): a
// file of the host, mapped into the guest's address space. A guest mounts it with
// "-o dax" and so has no page cache of its own for it; guests that map the same file
// share the host's.
//
//	device.go         the device: configuration, queue
//	request.go        flush requests
//	mapping_unsafe.go the file in this process's memory
//
// Package vm makes the device; a transport drives it. The mapping is no part of
// memory.Memory: this process never reads or writes it, and no virtqueue can point
// into it. So a file that somebody cuts short while a guest has it, against the lock,
// ends that guest (KVM cannot map the page) and does not kill this process.
package pmem
