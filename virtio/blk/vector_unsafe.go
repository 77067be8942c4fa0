package blk

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// fill makes dst the vector of at most size bytes of parts, skip bytes in. It
// returns how much of dst it used and how many bytes that is.
func fill(dst []unix.Iovec, parts [][]byte, skip, size int64) (n int, total int64) {
	for _, p := range parts {
		if skip >= int64(len(p)) {
			skip -= int64(len(p))
			continue
		}
		if n == len(dst) || total == size {
			break
		}
		p = p[skip:]
		skip = 0
		take := min(int64(len(p)), size-total)
		dst[n] = unix.Iovec{Base: unsafe.SliceData(p), Len: uint64(take)}
		n++
		total += take
	}
	return n, total
}

// aligned tells whether all addresses and lengths are multiples of align, a power
// of two.
func aligned(vec []unix.Iovec, align int) bool {
	mask := uint64(align - 1)
	for i := range vec {
		if (uint64(uintptr(unsafe.Pointer(vec[i].Base)))|vec[i].Len)&mask != 0 {
			return false
		}
	}
	return true
}

// preadv2 and pwritev2 take the vector as it is; those of x/sys make one on the
// heap. On x86-64 the whole offset goes into the first of its two words.

func preadv2(fd int, vec []unix.Iovec, off int64, flags int) (int64, error) {
	return vectored(unix.SYS_PREADV2, fd, vec, off, flags)
}

func pwritev2(fd int, vec []unix.Iovec, off int64, flags int) (int64, error) {
	return vectored(unix.SYS_PWRITEV2, fd, vec, off, flags)
}

func vectored(call uintptr, fd int, vec []unix.Iovec, off int64, flags int) (int64, error) {
	var n uintptr
	var errno unix.Errno
	if flags&unix.RWF_NOWAIT != 0 {
		// It does not wait, so the scheduler need not hear of it.
		n, _, errno = unix.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(vec))),
			uintptr(len(vec)), uintptr(off), 0, uintptr(flags))
	} else {
		n, _, errno = unix.Syscall6(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(vec))),
			uintptr(len(vec)), uintptr(off), 0, uintptr(flags))
	}
	if errno != 0 {
		return 0, errno
	}
	return int64(n), nil
}
