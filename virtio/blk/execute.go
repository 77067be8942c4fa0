package blk

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

const (
	// maxVector is the number of buffers in one call; IOV_MAX is 1024.
	maxVector = 64
	// maxPiece bounds the bytes of one call, so that a request of 4 GiB can be
	// dropped on the way.
	maxPiece = 8 << 20
)

var (
	errStopped = errors.New("the device was reset")
	errShort   = errors.New("the disk is shorter than it was")
)

// executor carries requests out by calls that wait. It belongs to one goroutine.
type executor struct {
	vec [maxVector]unix.Iovec
}

// run carries the whole request out, or what is left of it.
func (x *executor) run(b *backend, r *request) error {
	switch r.op {
	case opRead:
		return x.read(b, r, 0)
	case opWrite:
		return x.write(b, r)
	case opFlush:
		return b.disk.Flush()
	case opDiscard, opWriteZeroes:
		return x.clear(b, r)
	}
	return fmt.Errorf("operation %d has no executor", r.op)
}

// read fills the request's buffers; flags are those of preadv2. What lies behind
// the disk's end is zero.
func (x *executor) read(b *backend, r *request, flags int) error {
	for r.done < r.size {
		if r.atEnd(b) {
			r.zeroRest()
			return nil
		}
		if r.lane.stopping.Load() {
			return errStopped
		}
		n, err := x.readPiece(b, r, flags)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n == 0:
			return errShort
		}
		r.done += n
	}
	return nil
}

// atEnd tells whether the rest of a read lies behind the disk's end.
func (r *request) atEnd(b *backend) bool { return r.offset+r.done >= b.size.Load() }

func (r *request) zeroRest() {
	parts, skip := r.data()
	skip += r.done
	for _, p := range parts {
		if skip >= int64(len(p)) {
			skip -= int64(len(p))
			continue
		}
		n := min(int64(len(p))-skip, r.size-r.done)
		clear(p[skip : skip+n])
		r.done += n
		skip = 0
	}
}

// readPiece reads by descriptor, or through the disk where there is none or where
// the guest's buffers are not aligned for it.
func (x *executor) readPiece(b *backend, r *request, flags int) (int64, error) {
	parts, skip := r.data()
	left, at := min(r.size-r.done, maxPiece), r.offset+r.done
	if n, size := fill(x.vec[:], parts, skip+r.done, left); b.suits(x.vec[:n], size) {
		return preadv2(b.fd, x.vec[:n], at, flags)
	}
	p := partAt(parts, skip+r.done)
	n, err := b.disk.ReadAt(p[:min(int64(len(p)), left, b.size.Load()-at)], at)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return int64(n), err
}

// write takes the request's data to the disk, and to stable storage if the lane
// has no write cache.
func (x *executor) write(b *backend, r *request) error {
	for r.done < r.size {
		if r.lane.stopping.Load() {
			return errStopped
		}
		n, err := x.writePiece(b, r)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n == 0:
			return io.ErrShortWrite
		}
		r.done += n
	}
	if r.unsynced && r.lane.through() {
		return b.disk.Flush()
	}
	return nil
}

func (x *executor) writePiece(b *backend, r *request) (int64, error) {
	parts, skip := r.data()
	left, at := min(r.size-r.done, maxPiece), r.offset+r.done
	if n, size := fill(x.vec[:], parts, skip+r.done, left); b.suits(x.vec[:n], size) {
		return pwritev2(b.fd, x.vec[:n], at, r.lane.writeFlags())
	}
	r.unsynced = true
	p := partAt(parts, skip+r.done)
	n, err := b.disk.WriteAt(p[:min(int64(len(p)), left)], at)
	return int64(n), err
}

// clear discards or zeroes the request's ranges.
func (x *executor) clear(b *backend, r *request) error {
	for _, s := range r.ranges {
		if r.lane.stopping.Load() {
			return errStopped
		}
		// The last block may go on behind the disk's end, where all is zero.
		n := min(s.size, b.size.Load()-s.offset)
		if n <= 0 {
			continue
		}
		var err error
		if r.op == opDiscard {
			err = b.disk.Discard(s.offset, n)
		} else {
			err = b.disk.WriteZeroes(s.offset, n, s.unmap)
		}
		if err != nil {
			return err
		}
	}
	if r.lane.through() {
		return b.disk.Flush()
	}
	return nil
}

// probeNowait tells whether a read that would wait fails instead.
func (x *executor) probeNowait(fd int) bool {
	p := make([]byte, 1)
	x.vec[0] = unix.Iovec{Base: &p[0], Len: 1}
	_, err := preadv2(fd, x.vec[:1], 0, unix.RWF_NOWAIT)
	x.vec[0] = unix.Iovec{}
	return err == nil || errors.Is(err, unix.EAGAIN)
}

// partAt is what is left of the part that byte skip of parts is in.
func partAt(parts [][]byte, skip int64) []byte {
	for _, p := range parts {
		if skip < int64(len(p)) {
			return p[skip:]
		}
		skip -= int64(len(p))
	}
	return nil
}
