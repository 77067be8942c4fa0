package fs

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// node gives the request's node; the caller puts it back.
func (w *worker) node() (*node, unix.Errno) {
	n := w.nodes.get(w.req.node)
	if n == nil {
		return nil, unix.ESTALE
	}
	return n, 0
}

// dir gives the request's node if it is a folder.
func (w *worker) dir() (*node, unix.Errno) {
	n, errno := w.node()
	if errno == 0 && !n.isDir() {
		w.nodes.put(n)
		return nil, unix.ENOTDIR
	}
	return n, errno
}

// inDir runs f with the request's folder and the name behind the arguments.
func (w *worker) inDir(f func(dir *node, name string) unix.Errno) (int, unix.Errno) {
	name, errno := w.args.name()
	if errno != 0 {
		return 0, errno
	}
	dir, errno := w.dir()
	if errno != 0 {
		return 0, errno
	}
	defer w.nodes.put(dir)
	return 0, f(dir, name)
}

// procName is the name of a descriptor in /proc/self/fd. To open it opens the file
// that the descriptor stands for, whatever has become of its name.
func procName(fd int) string { return strconv.Itoa(fd) }

// enter opens what is called name in dir, whatever it is, and makes a node of it.
func (w *worker) enter(dir *node, name string) (id uint64, st unix.Stat_t, errno unix.Errno) {
	fd, err := unix.Openat(dir.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, st, errnoOf(err)
	}
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return 0, st, errnoOf(err)
	}
	id, errno = w.nodes.enter(fd, &st)
	return id, st, errno
}

// answerEntry enters name and answers with it.
func (w *worker) answerEntry(dir *node, name string) unix.Errno {
	id, st, errno := w.enter(dir, name)
	if errno == 0 {
		w.reply.entry(id, &st)
	}
	return errno
}

func (w *worker) lookup() (int, unix.Errno) { return w.inDir(w.answerEntry) }

func (w *worker) forget() (int, unix.Errno) {
	if n := w.args.u64(); !w.args.bad {
		w.nodes.forget(w.req.node, n)
	}
	return 0, 0
}

// batchForget has a list of any length, which is read piece by piece.
func (w *worker) batchForget() (int, unix.Errno) {
	const entry = 16
	count := uint64(w.args.u32())
	off := uint64(inHeader + 8)
	var b [64 * entry]byte
	for count > 0 && off+entry <= w.chain.ReadLen {
		n := w.chain.ReadAt(b[:min(uint64(len(b)), count*entry)], off)
		list := args{b: b[:n/entry*entry]}
		for len(list.b) > 0 {
			id, lookups := list.u64(), list.u64()
			w.nodes.forget(id, lookups)
			count--
		}
		if n < entry {
			break
		}
		off += uint64(n)
	}
	return 0, 0
}

// modeOf leaves the set-user-ID bits of plain files out; see the package comment.
func modeOf(mode uint32, isDir bool) uint32 {
	if isDir {
		return mode & 0o3777
	}
	return mode & 0o1777
}

// made answers with what was just made, with exactly the mode that was asked for:
// the guest has applied its own mask, and the process's must not count.
func (w *worker) made(dir *node, name string, mode uint32, chmod bool) unix.Errno {
	id, st, errno := w.enter(dir, name)
	if errno != 0 {
		return errno
	}
	if n := w.nodes.get(id); n != nil {
		mode |= st.Mode & unix.S_ISGID // a folder's inherited group
		if chmod && st.Mode&0o7777 != mode && n.kind == st.Mode&unix.S_IFMT && unix.Fchmodat(w.proc, procName(n.fd), mode, 0) == nil {
			_ = unix.Fstat(n.fd, &st)
		}
		w.nodes.put(n)
	}
	w.reply.entry(id, &st)
	return 0
}

func (w *worker) mknod() (int, unix.Errno) {
	mode := w.args.u32()
	w.args.skip(12) // device number, mask, padding
	return w.inDir(func(dir *node, name string) unix.Errno {
		switch mode & unix.S_IFMT {
		case unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK:
		default:
			return unix.EPERM
		}
		perm := modeOf(mode, false)
		if err := unix.Mknodat(dir.fd, name, mode&unix.S_IFMT|perm, 0); err != nil {
			return errnoOf(err)
		}
		return w.made(dir, name, perm, true)
	})
}

func (w *worker) mkdir() (int, unix.Errno) {
	mode := modeOf(w.args.u32(), true)
	w.args.skip(4) // mask
	return w.inDir(func(dir *node, name string) unix.Errno {
		if err := unix.Mkdirat(dir.fd, name, mode); err != nil {
			return errnoOf(err)
		}
		return w.made(dir, name, mode, true)
	})
}

func (w *worker) symlink() (int, unix.Errno) {
	name, errno := w.args.name()
	if errno != 0 {
		return 0, errno
	}
	target := w.args.text()
	if w.args.bad || target == "" {
		return 0, unix.EINVAL
	}
	dir, errno := w.dir()
	if errno != 0 {
		return 0, errno
	}
	defer w.nodes.put(dir)
	if err := unix.Symlinkat(target, dir.fd, name); err != nil {
		return 0, errnoOf(err)
	}
	return 0, w.made(dir, name, 0, false)
}

func (w *worker) readlink() (int, unix.Errno) {
	n, errno := w.node()
	if errno != 0 {
		return 0, errno
	}
	defer w.nodes.put(n)
	if n.kind != unix.S_IFLNK {
		return 0, unix.EINVAL
	}
	k, err := unix.Readlinkat(n.fd, "", w.out[outHeader:outHeader+unix.PathMax])
	w.reply.b = w.out[outHeader : outHeader+max(k, 0)]
	return 0, errnoOf(err)
}

func (w *worker) unlink() (int, unix.Errno) {
	return w.inDir(func(dir *node, name string) unix.Errno { return errnoOf(unix.Unlinkat(dir.fd, name, 0)) })
}

func (w *worker) rmdir() (int, unix.Errno) {
	return w.inDir(func(dir *node, name string) unix.Errno {
		return errnoOf(unix.Unlinkat(dir.fd, name, unix.AT_REMOVEDIR))
	})
}

func (w *worker) rename() (int, unix.Errno) { return w.renameTo(w.args.u64(), 0) }

func (w *worker) rename2() (int, unix.Errno) {
	to, flags := w.args.u64(), w.args.u32()
	w.args.skip(4)
	if flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE) != 0 {
		return 0, unix.EINVAL
	}
	return w.renameTo(to, uint(flags))
}

func (w *worker) renameTo(to uint64, flags uint) (int, unix.Errno) {
	return w.inDir(func(dir *node, name string) unix.Errno {
		newName, errno := w.args.name()
		if errno != 0 {
			return errno
		}
		target := w.nodes.get(to)
		if target == nil {
			return unix.ESTALE
		}
		defer w.nodes.put(target)
		if !target.isDir() {
			return unix.ENOTDIR
		}
		return errnoOf(unix.Renameat2(dir.fd, name, target.fd, newName, flags))
	})
}

func (w *worker) link() (int, unix.Errno) {
	old := w.args.u64()
	return w.inDir(func(dir *node, name string) unix.Errno {
		n := w.nodes.get(old)
		if n == nil {
			return unix.ESTALE
		}
		defer w.nodes.put(n)
		if n.isDir() {
			return unix.EPERM
		}
		err := unix.Linkat(w.proc, procName(n.fd), dir.fd, name, unix.AT_SYMLINK_FOLLOW)
		if err != nil {
			return errnoOf(err)
		}
		return w.answerEntry(dir, name)
	})
}
