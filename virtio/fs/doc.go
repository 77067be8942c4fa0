// Package fs is the virtio file system device (virtio 1.2, section 5.11): a folder of
// the host, shared with the guest ("mount -t virtiofs TAG /mnt"). The file server is
// part of it; it speaks FUSE (include/uapi/linux/fuse.h of Linux) with the guest's
// kernel.
//
//	device.go   the device: configuration, queues, workers
//	wire.go     FUSE messages: how they are read and written
//	server.go   a request becomes a call of an operation, and its answer
//	nodes.go    what the guest has looked up
//	handles.go  what the guest has open
//	op_*.go     the operations
//
// Package vm makes the device; a transport drives it.
//
// No guest leaves its folder. A request names a file by a node, which is an O_PATH
// descriptor that the server opened, and one more component: not "." or "..", and
// without a slash. It is opened with O_NOFOLLOW, so neither a symbolic link, nor one
// that somebody swaps in, nor a rename at the wrong moment leads anywhere else.
// Symbolic links are read for the guest and never followed for it. Only plain files
// and folders are opened, no devices, pipes or sockets, and device nodes are not made.
//
// Everything happens with the rights of this process, whoever asks in the guest; the
// guest's kernel checks the rights that it sees. Files with set-user-ID bits are not
// made, as they would run as this process's user. Extended attributes are those of
// the user name space. Nodes, open files, workers and buffers are bounded.
package fs
