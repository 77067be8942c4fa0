package fs

import (
	"strings"

	"golang.org/x/sys/unix"
)

func (w *worker) getattr() (int, unix.Errno) {
	n, errno := w.node()
	if errno != 0 {
		return 0, errno
	}
	defer w.nodes.put(n)
	return 0, w.answerAttr(n)
}

func (w *worker) answerAttr(n *node) unix.Errno {
	var st unix.Stat_t
	if err := unix.Fstat(n.fd, &st); err != nil {
		return errnoOf(err)
	}
	w.reply.attrOut(&st)
	return 0
}

// Bits of struct fuse_setattr_in's valid.
const (
	setMode     = 1 << 0
	setUID      = 1 << 1
	setGID      = 1 << 2
	setSize     = 1 << 3
	setAtime    = 1 << 4
	setMtime    = 1 << 5
	setHandle   = 1 << 6
	setAtimeNow = 1 << 7
	setMtimeNow = 1 << 8
)

// setattrIn is struct fuse_setattr_in.
type setattrIn struct {
	valid, mode, uid, gid uint32
	handle, size          uint64
	times                 [2]unix.Timespec
}

func (a *args) setattr() setattrIn {
	var s setattrIn
	s.valid = a.u32()
	a.skip(4)
	s.handle, s.size = a.u64(), a.u64()
	a.skip(8) // lock owner
	s.times[0].Sec, s.times[1].Sec = int64(a.u64()), int64(a.u64())
	a.skip(8) // change time
	s.times[0].Nsec, s.times[1].Nsec = int64(a.u32()), int64(a.u32())
	a.skip(4)
	s.mode = a.u32()
	a.skip(4)
	s.uid, s.gid = a.u32(), a.u32()
	for i, bits := range [2][2]uint32{{setAtime, setAtimeNow}, {setMtime, setMtimeNow}} {
		switch {
		case s.valid&bits[1] != 0:
			s.times[i] = unix.Timespec{Nsec: unix.UTIME_NOW}
		case s.valid&bits[0] == 0:
			s.times[i] = unix.Timespec{Nsec: unix.UTIME_OMIT}
		}
	}
	return s
}

func (w *worker) setattr() (int, unix.Errno) {
	s := w.args.setattr()
	if w.args.bad {
		return 0, unix.EINVAL
	}
	n, errno := w.node()
	if errno != 0 {
		return 0, errno
	}
	defer w.nodes.put(n)
	for _, change := range [...]func(*node, *setattrIn) unix.Errno{w.chmod, w.chown, w.truncate, w.utimes} {
		if errno := change(n, &s); errno != 0 {
			return 0, errno
		}
	}
	return 0, w.answerAttr(n)
}

func (w *worker) chmod(n *node, s *setattrIn) unix.Errno {
	switch {
	case s.valid&setMode == 0:
		return 0
	case n.kind == unix.S_IFLNK:
		return unix.EOPNOTSUPP
	}
	return errnoOf(unix.Fchmodat(w.proc, procName(n.fd), modeOf(s.mode, n.isDir()), 0))
}

func (w *worker) chown(n *node, s *setattrIn) unix.Errno {
	uid, gid := -1, -1
	if s.valid&setUID != 0 {
		uid = int(s.uid)
	}
	if s.valid&setGID != 0 {
		gid = int(s.gid)
	}
	if uid < 0 && gid < 0 {
		return 0
	}
	uid, gid = w.owner.meant(uid, gid)
	return errnoOf(unix.Fchownat(n.fd, "", uid, gid, unix.AT_EMPTY_PATH))
}

func (w *worker) truncate(n *node, s *setattrIn) unix.Errno {
	switch {
	case s.valid&setSize == 0:
		return 0
	case !n.isFile():
		return unix.EINVAL
	case s.size > 1<<63-1:
		return unix.EFBIG
	}
	if s.valid&setHandle != 0 {
		h, errno := w.handles.get(s.handle, false)
		if errno != 0 {
			return errno
		}
		defer w.handles.put(h)
		return errnoOf(unix.Ftruncate(h.fd, int64(s.size)))
	}
	fd, errno := w.reopen(n, unix.O_WRONLY)
	if errno != 0 {
		return errno
	}
	defer unix.Close(fd)
	return errnoOf(unix.Ftruncate(fd, int64(s.size)))
}

func (w *worker) utimes(n *node, s *setattrIn) unix.Errno {
	const any = setAtime | setMtime | setAtimeNow | setMtimeNow
	switch {
	case s.valid&any == 0:
		return 0
	case n.kind == unix.S_IFLNK:
		return errnoOf(unix.UtimesNanoAt(n.fd, "", s.times[:], unix.AT_EMPTY_PATH))
	}
	return errnoOf(unix.UtimesNanoAt(w.proc, procName(n.fd), s.times[:], 0))
}

func (w *worker) statfs() (int, unix.Errno) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(w.root, &st); err != nil {
		return 0, errnoOf(err)
	}
	for _, v := range [...]uint64{st.Blocks, st.Bfree, st.Bavail, st.Files, st.Ffree} {
		w.reply.u64(v)
	}
	for _, v := range [...]uint32{uint32(st.Bsize), uint32(st.Namelen), uint32(st.Frsize), 0, 0, 0, 0, 0, 0, 0} {
		w.reply.u32(v)
	}
	return 0, 0
}

const (
	xattrPrefix = "user."
	xattrMax    = 64 << 10 // XATTR_SIZE_MAX
)

// onXattrs calls f with a descriptor of the request's node that its attributes can be had
// by. One of O_PATH does not do, and a path would need /proc, which a jailed process has
// not.
func (w *worker) onXattrs(f func(fd int) error) unix.Errno {
	n, errno := w.node()
	if errno != 0 {
		return errno
	}
	defer w.nodes.put(n)
	if !n.isFile() && !n.isDir() {
		return unix.EOPNOTSUPP
	}
	fd, err := unix.Openat(w.proc, procName(n.fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return errnoOf(err)
	}
	defer unix.Close(fd)
	return errnoOf(f(fd))
}

// xattrName takes an attribute's name off the arguments. Only those of users are served.
func (w *worker) xattrName() (string, unix.Errno) {
	name := w.args.text()
	switch {
	case w.args.bad:
		return "", unix.EINVAL
	case !strings.HasPrefix(name, xattrPrefix):
		return "", unix.EOPNOTSUPP
	}
	return name, 0
}

func (w *worker) setxattr() (int, unix.Errno) {
	size, flags := w.args.u32(), w.args.u32()
	before := len(w.args.b)
	name, errno := w.xattrName()
	if errno != 0 {
		return 0, errno
	}
	if size > xattrMax {
		return 0, unix.E2BIG
	}
	value := make([]byte, size)
	off := inHeader + 8 + uint64(before-len(w.args.b))
	if w.chain.ReadAt(value, off) < len(value) {
		return 0, unix.EINVAL
	}
	how := int(flags & (unix.XATTR_CREATE | unix.XATTR_REPLACE))
	return 0, w.onXattrs(func(fd int) error { return unix.Fsetxattr(fd, name, value, how) })
}

// answerXattr answers with a value, or its size when none is wanted.
func (w *worker) answerXattr(wanted uint32, value []byte) unix.Errno {
	switch {
	case wanted == 0:
		w.reply.u32(uint32(len(value)))
		w.reply.u32(0)
	case len(value) > int(wanted):
		return unix.ERANGE
	case len(value) > outSize:
		return unix.E2BIG
	default:
		w.reply.b = append(w.reply.b, value...)
	}
	return 0
}

func (w *worker) getxattr() (int, unix.Errno) {
	wanted := w.args.u32()
	w.args.skip(4)
	name, errno := w.xattrName()
	if errno != 0 {
		return 0, errno
	}
	value := make([]byte, xattrMax)
	k := 0
	errno = w.onXattrs(func(fd int) (err error) {
		k, err = unix.Fgetxattr(fd, name, value)
		return err
	})
	if errno != 0 {
		return 0, errno
	}
	return 0, w.answerXattr(wanted, value[:k])
}

func (w *worker) listxattr() (int, unix.Errno) {
	wanted := w.args.u32()
	if w.args.bad {
		return 0, unix.EINVAL
	}
	list := make([]byte, xattrMax)
	k := 0
	errno := w.onXattrs(func(fd int) (err error) {
		k, err = unix.Flistxattr(fd, list)
		return err
	})
	if errno != 0 {
		return 0, errno
	}
	var kept []byte
	for name := range strings.SplitAfterSeq(string(list[:k]), "\x00") {
		if strings.HasPrefix(name, xattrPrefix) {
			kept = append(kept, name...)
		}
	}
	return 0, w.answerXattr(wanted, kept)
}

func (w *worker) removexattr() (int, unix.Errno) {
	name, errno := w.xattrName()
	if errno != 0 {
		return 0, errno
	}
	return 0, w.onXattrs(func(fd int) error { return unix.Fremovexattr(fd, name) })
}
