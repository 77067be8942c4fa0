package host

import (
	"io"

	"golang.org/x/sys/unix"
)

// fallbackAlign is what O_DIRECT is taken to want where the kernel does not say: the
// largest logical block in use.
const fallbackAlign = 4096

// bounceSize bounds what one step of an unaligned request moves, in bytes.
const bounceSize = 128 << 10

// directAlignment asks what O_DIRECT wants (statx STATX_DIOALIGN, Linux 6.1, else the
// device's logical block size), as one power of two for offset, length and address.
func directAlignment(fd int, device bool) int {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st)
	if err == nil && st.Mask&unix.STATX_DIOALIGN != 0 && st.Dio_offset_align != 0 {
		return powerOfTwo(int(max(st.Dio_mem_align, st.Dio_offset_align)))
	}
	if device {
		if n, err := unix.IoctlGetInt(fd, unix.BLKSSZGET); err == nil && n > 0 {
			return powerOfTwo(n)
		}
	}
	return fallbackAlign
}

// powerOfTwo rounds n up to one within 512 and 64 KiB.
func powerOfTwo(n int) int {
	p := 512
	for p < n && p < 64<<10 {
		p *= 2
	}
	return p
}

// bounce is memory aligned as O_DIRECT wants it.
type bounce struct{ p []byte }

func newBounce(align int) *bounce {
	buf := make([]byte, bounceSize+align)
	skip := -addressOf(buf) & (align - 1)
	return &bounce{p: buf[skip : skip+bounceSize]}
}

// maxSpare bounds how much aligned memory is kept for later requests.
const maxSpare = 4

func (f *File) bounce() *bounce {
	select {
	case b := <-f.spare:
		return b
	default:
		return newBounce(f.align)
	}
}

func (f *File) giveBack(b *bounce) {
	select {
	case f.spare <- b:
	default:
	}
}

func (f *File) aligned(p []byte, off int64) bool {
	mask := f.align - 1
	return len(p) == 0 || (int(off)|len(p)|addressOf(p))&mask == 0
}

// span gives the aligned range round off and at most what fits the bounce buffer.
func (f *File) span(off int64, n int) (start int64, length int) {
	mask := int64(f.align - 1)
	start = off &^ mask
	end := (off + int64(n) + mask) &^ mask
	return start, int(min(end-start, bounceSize))
}

func (f *File) readBounced(p []byte, off int64) (int, error) {
	b := f.bounce()
	defer f.giveBack(b)
	done := 0
	for done < len(p) {
		at := off + int64(done)
		start, length := f.span(at, len(p)-done)
		n, err := f.f.ReadAt(b.p[:length], start)
		skip := int(at - start)
		got := 0
		if n > skip {
			got = copy(p[done:], b.p[skip:n])
		}
		done += got
		if done == len(p) {
			break
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// writeBounced writes a range that O_DIRECT does not take as it is: whole blocks go
// through an aligned buffer, blocks changed in part are read first.
func (f *File) writeBounced(p []byte, off int64) (int, error) {
	b := f.bounce()
	defer f.giveBack(b)
	f.edges.Lock()
	defer f.edges.Unlock()
	done := 0
	for done < len(p) {
		at := off + int64(done)
		start, length := f.span(at, len(p)-done)
		skip := int(at - start)
		n := min(length-skip, len(p)-done)
		if skip != 0 || n != length {
			if err := f.fill(b.p[:length], start); err != nil {
				return done, err
			}
		}
		copy(b.p[skip:], p[done:done+n])
		if _, err := f.f.WriteAt(b.p[:length], start); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// fill reads p from off, with zeroes for what lies past the file's end.
func (f *File) fill(p []byte, off int64) error {
	n, err := f.f.ReadAt(p, off)
	if err == io.EOF {
		clear(p[n:])
		return nil
	}
	return err
}
