package fs

import "golang.org/x/sys/unix"

// Flags of FUSE_INIT that are used (enum in fuse.h).
const (
	initAsyncRead      = 1 << 0
	initAtomicTruncate = 1 << 3
	initBigWrites      = 1 << 5
	initAutoInval      = 1 << 12
	initAsyncDIO       = 1 << 15
	initParallelDirs   = 1 << 18
	initMaxPages       = 1 << 22

	initFlags = initAsyncRead | initAtomicTruncate | initBigWrites | initAutoInval |
		initAsyncDIO | initParallelDirs | initMaxPages
)

// Version of the protocol that is spoken.
const (
	fuseMajor = 7
	fuseMinor = 38
)

// init begins a mount (struct fuse_init_in and fuse_init_out).
func (w *worker) init() (int, unix.Errno) {
	major := w.args.u32()
	w.args.skip(4) // minor
	readahead, flags := w.args.u32(), w.args.u32()
	if w.args.bad || major < fuseMajor {
		return 0, unix.EPROTO
	}
	w.forgetAll()
	r := &w.reply
	r.u32(fuseMajor)
	r.u32(fuseMinor)
	r.u32(min(readahead, maxTransfer))
	r.u32(flags & initFlags)
	r.u16(64) // requests in the background
	r.u16(48) // of which so many mean congestion
	r.u32(maxTransfer)
	r.u32(1) // nanoseconds: granularity of times
	r.u16(maxPages)
	for len(r.b) < 64 {
		r.b = append(r.b, 0)
	}
	return 0, 0
}

func (w *worker) destroy() (int, unix.Errno) {
	w.forgetAll()
	return 0, 0
}

func (w *worker) interrupt() (int, unix.Errno) { return 0, 0 }

// openFlags are those of the guest's that the host is to know of. What would block,
// follow, create or take a terminal is not among them, and O_DIRECT neither: the
// guest's memory need not be aligned as the host's disk wants it.
const openFlags = unix.O_ACCMODE | unix.O_APPEND | unix.O_TRUNC | unix.O_SYNC | unix.O_DSYNC

// reopen opens the plain file of a node.
func (w *worker) reopen(n *node, flags int) (int, unix.Errno) {
	if !n.isFile() {
		return -1, unix.ENXIO
	}
	if w.readOnly && flags&(unix.O_ACCMODE|unix.O_TRUNC) != unix.O_RDONLY {
		return -1, unix.EROFS
	}
	fd, err := unix.Openat(w.proc, procName(n.fd), flags&openFlags|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	return fd, errnoOf(err)
}

func (w *worker) open() (int, unix.Errno) {
	flags := int(w.args.u32())
	if w.args.bad {
		return 0, unix.EINVAL
	}
	n, errno := w.node()
	if errno != 0 {
		return 0, errno
	}
	defer w.nodes.put(n)
	fd, errno := w.reopen(n, flags)
	if errno != 0 {
		return 0, errno
	}
	return 0, w.answerOpen(fd, false)
}

func (w *worker) answerOpen(fd int, isDir bool) unix.Errno {
	id, errno := w.handles.add(fd, isDir)
	if errno == 0 {
		w.reply.open(id)
	}
	return errno
}

// create makes a file and opens it. One that is there is opened like any other: the
// guest may have been the second.
func (w *worker) create() (int, unix.Errno) {
	flags, mode := int(w.args.u32()), modeOf(w.args.u32(), false)
	w.args.skip(8) // mask, flags of the protocol
	return w.inDir(func(dir *node, name string) unix.Errno {
		how := flags&openFlags | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NOCTTY
		fd, err := unix.Openat(dir.fd, name, how, mode)
		switch {
		case err == nil:
			// The process's mask must not count.
			_ = unix.Fchmod(fd, mode)
			return w.answerCreated(dir, name, fd)
		case err == unix.EEXIST && flags&unix.O_EXCL == 0:
			return w.openEntry(dir, name, flags)
		}
		return errnoOf(err)
	})
}

// answerCreated answers with a new file. Should its name mean another by now, that
// one is the guest's, and it is opened.
func (w *worker) answerCreated(dir *node, name string, fd int) unix.Errno {
	id, st, errno := w.enter(dir, name)
	if errno != 0 {
		_ = unix.Close(fd)
		return errno
	}
	var own unix.Stat_t
	if err := unix.Fstat(fd, &own); err != nil || own.Dev != st.Dev || own.Ino != st.Ino {
		_ = unix.Close(fd)
		w.nodes.forget(id, 1)
		return unix.ESTALE
	}
	w.reply.entry(id, &st)
	errno = w.answerOpen(fd, false)
	if errno != 0 {
		w.nodes.forget(id, 1)
	}
	return errno
}

func (w *worker) openEntry(dir *node, name string, flags int) unix.Errno {
	id, st, errno := w.enter(dir, name)
	if errno != 0 {
		return errno
	}
	fd := -1
	if n := w.nodes.get(id); n != nil {
		fd, errno = w.reopen(n, flags)
		w.nodes.put(n)
	} else {
		errno = unix.ESTALE
	}
	if errno == 0 {
		w.reply.entry(id, &st)
		errno = w.answerOpen(fd, false)
	}
	if errno != 0 {
		w.nodes.forget(id, 1)
	}
	return errno
}

func (w *worker) release() (int, unix.Errno) {
	id := w.args.u64()
	if w.args.bad {
		return 0, unix.EINVAL
	}
	w.handles.release(id)
	return 0, 0
}

// flush is a close(2) in the guest: nothing of it waits in this process.
func (w *worker) flush() (int, unix.Errno) { return 0, 0 }

// withHandle runs f with the handle that the arguments begin with.
func (w *worker) withHandle(isDir bool, f func(*handle) (int, unix.Errno)) (int, unix.Errno) {
	id := w.args.u64()
	if w.args.bad {
		return 0, unix.EINVAL
	}
	h, errno := w.handles.get(id, isDir)
	if errno != 0 {
		return 0, errno
	}
	defer w.handles.put(h)
	return f(h)
}

// read reads from the file right into the guest's memory.
func (w *worker) read() (int, unix.Errno) {
	return w.withHandle(false, func(h *handle) (int, unix.Errno) {
		off, size := w.args.u64(), uint64(w.args.u32())
		if w.args.bad || off > 1<<63-1 {
			return 0, unix.EINVAL
		}
		parts := w.window(w.chain.Writable, outHeader, min(size, maxTransfer))
		if len(parts) == 0 {
			return 0, 0
		}
		n, err := unix.Preadv(h.fd, parts, int64(off))
		return max(n, 0), errnoOf(err)
	})
}

// write writes to the file right from the guest's memory.
func (w *worker) write() (int, unix.Errno) {
	const fixed = 40 // struct fuse_write_in
	return w.withHandle(false, func(h *handle) (int, unix.Errno) {
		off, size := w.args.u64(), uint64(w.args.u32())
		w.args.skip(fixed - 20)
		if w.args.bad || off > 1<<63-1 || size > maxTransfer || w.chain.ReadLen < inHeader+fixed+size {
			return 0, unix.EINVAL
		}
		n := 0
		if parts := w.window(w.chain.Readable, inHeader+fixed, size); len(parts) > 0 {
			var err error
			if n, err = unix.Pwritev(h.fd, parts, int64(off)); err != nil {
				return 0, errnoOf(err)
			}
		}
		w.reply.u32(uint32(n))
		w.reply.u32(0)
		return 0, 0
	})
}

// maxParts is how many pieces one system call takes (IOV_MAX).
const maxParts = 1024

// window cuts n bytes, from skip on, out of a chain's parts. More pieces than a system
// call takes are left out: the answer says how much was done.
func (w *worker) window(chain [][]byte, skip, n uint64) [][]byte {
	w.parts = append(w.parts[:0], chain...)
	parts := w.parts
	for len(parts) > 0 && skip >= uint64(len(parts[0])) {
		skip -= uint64(len(parts[0]))
		parts = parts[1:]
	}
	if len(parts) == 0 || n == 0 {
		return nil
	}
	parts[0] = parts[0][skip:]
	for i := range parts {
		if uint64(len(parts[i])) >= n {
			parts[i] = parts[i][:n]
			parts = parts[:i+1]
			break
		}
		n -= uint64(len(parts[i]))
	}
	return parts[:min(len(parts), maxParts)]
}

const syncData = 1 // FUSE_FSYNC_FDATASYNC

func (w *worker) fsync() (int, unix.Errno)    { return w.withHandle(false, w.sync) }
func (w *worker) fsyncdir() (int, unix.Errno) { return w.withHandle(true, w.sync) }

func (w *worker) sync(h *handle) (int, unix.Errno) {
	if w.args.u32()&syncData != 0 {
		return 0, errnoOf(unix.Fdatasync(h.fd))
	}
	return 0, errnoOf(unix.Fsync(h.fd))
}

func (w *worker) syncfs() (int, unix.Errno) {
	fd, err := unix.Openat(w.root, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, errnoOf(err)
	}
	defer unix.Close(fd)
	return 0, errnoOf(unix.Syncfs(fd))
}

func (w *worker) fallocate() (int, unix.Errno) {
	const modes = unix.FALLOC_FL_KEEP_SIZE | unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_ZERO_RANGE
	return w.withHandle(false, func(h *handle) (int, unix.Errno) {
		off, size, mode := w.args.u64(), w.args.u64(), w.args.u32()
		switch {
		case w.args.bad, off > 1<<62, size > 1<<62:
			return 0, unix.EINVAL
		case mode&^modes != 0:
			return 0, unix.EOPNOTSUPP
		}
		return 0, errnoOf(unix.Fallocate(h.fd, mode, int64(off), int64(size)))
	})
}

// lseek finds data and holes; other seeks the guest's kernel does by itself.
func (w *worker) lseek() (int, unix.Errno) {
	return w.withHandle(false, func(h *handle) (int, unix.Errno) {
		off, whence := w.args.u64(), w.args.u32()
		if w.args.bad || off > 1<<63-1 || whence != unix.SEEK_DATA && whence != unix.SEEK_HOLE {
			return 0, unix.EINVAL
		}
		at, err := unix.Seek(h.fd, int64(off), int(whence))
		w.reply.u64(uint64(at))
		return 0, errnoOf(err)
	})
}

// copyFileRange copies in the host. A long copy is cut: the guest asks again.
func (w *worker) copyFileRange() (int, unix.Errno) {
	const most = 64 << 20
	return w.withHandle(false, func(from *handle) (int, unix.Errno) {
		fromOff := int64(w.args.u64())
		w.args.skip(8) // node
		toID, toOff, size := w.args.u64(), int64(w.args.u64()), w.args.u64()
		if w.args.bad || fromOff < 0 || toOff < 0 {
			return 0, unix.EINVAL
		}
		to, errno := w.handles.get(toID, false)
		if errno != 0 {
			return 0, errno
		}
		defer w.handles.put(to)
		n, err := unix.CopyFileRange(from.fd, &fromOff, to.fd, &toOff, int(min(size, most)), 0)
		w.reply.u32(uint32(max(n, 0)))
		w.reply.u32(0)
		return 0, errnoOf(err)
	})
}
