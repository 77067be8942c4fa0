package tap

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// load turns slices, mostly of guest memory, into what the kernel takes. The
// caller keeps them until the call is over.
func (x *transfer) load(iov [][]byte) {
	x.iov = x.iov[:0]
	for _, b := range iov {
		x.iov = append(x.iov, unix.Iovec{Base: unsafe.SliceData(b), Len: uint64(len(b))})
	}
}

// do performs readv or writev. It is not done when the descriptor is not ready.
//
// The call does not block, so the scheduler need not hear of it. If it did, its
// monitor would look after each call that takes longer than 20 µs, which one through
// the host's network stack does, and a timer that fires every 20 µs takes the CPU
// from a guest.
func (x *transfer) do(call, fd uintptr) (done bool) {
	for {
		n, _, errno := unix.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(x.iov))), uintptr(len(x.iov)))
		if errno == unix.EINTR {
			continue
		}
		x.n, x.errno = int(n), errno
		return errno != unix.EAGAIN
	}
}

// maxFilter bounds the addresses of a filter. The kernel compares the first eight
// exactly, hashes multicast ones after them, and lets all through when there are
// more unicast ones.
const maxFilter = 130

// txFilter is struct tun_filter with room for addresses (linux/if_tun.h).
type txFilter struct {
	flags, count uint16
	addresses    [maxFilter][6]byte
}

// allMulticast is TUN_FLT_ALLMULTI.
const allMulticast = 1

// SetFilter makes the kernel drop what the guest does not want to see. It holds
// for vhost-net too.
func (t *Tap) SetFilter(f Filter) error {
	var k txFilter
	if !f.All && len(f.Addresses) <= maxFilter {
		k.count = uint16(copy(k.addresses[:], f.Addresses))
		if f.AllMulticast {
			k.flags = allMulticast
		}
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(t.queues[0].fd), unix.TUNSETTXFILTER, uintptr(unsafe.Pointer(&k)))
	if errno != 0 {
		return fmt.Errorf("tap %s: TUNSETTXFILTER: %w", t.name, errno)
	}
	return nil
}
