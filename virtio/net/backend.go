package net

// Backend is the host's side of a network device. Each frame starts with a
// struct virtio_net_hdr_v1 of HeaderSize bytes (section 5.1.6), little endian, in
// both directions; its num_buffers is not looked at and not written.
//
// Readv and Writev are called by one goroutine a queue and direction, Wake and
// SetCarrier by any, the rest by one goroutine at a time; all of them at any time
// until Close.
type Backend interface {
	// Pairs is the number of receive and transmit queues that exist.
	Pairs() int
	// Offloads tells which of the Offload bits the backend can do, in both
	// directions.
	Offloads() uint32
	// SetOffloads says what the frames of Readv may make use of.
	SetOffloads(offloads uint32) error
	// SetPairs makes the first n pairs the ones that frames come from.
	SetPairs(n int) error
	// SetFilter tells which frames the guest wants to see. It is a hint: more
	// may come.
	SetFilter(Filter) error
	// SetCarrier tells the other end of the wire whether the link is up.
	SetCarrier(up bool) error
	// Readv puts the next frame of a pair into iov. It gives 0 if there is none,
	// or, with wait, only after Wake.
	Readv(pair int, iov [][]byte, wait bool) (int, error)
	// Writev sends one frame. It gives 0 if there is no room, or, with wait, only
	// after Wake. An error means that this frame cannot be sent.
	Writev(pair int, iov [][]byte, wait bool) (int, error)
	// Wake ends a Readv and a Writev of the pair that wait, or the next that
	// would.
	Wake(pair int)
	// Close gives all up that the backend holds of the host.
	Close() error
}

// HeaderSize is the length of struct virtio_net_hdr_v1.
const HeaderSize = 12

// Filter says which frames a guest wants: all of them, or those to the given
// addresses.
type Filter = struct {
	// All asks for every frame, AllMulticast for every multicast frame.
	All, AllMulticast bool
	// Addresses are the unicast and multicast addresses to let through, the
	// broadcast address among them.
	Addresses [][6]byte
}

// descriptors is a Backend whose pairs are taps, which the kernel can work on
// itself (vhost-net).
type descriptors interface {
	// FD is the descriptor of a pair.
	FD(pair int) int
}
