package fs

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

func (w *worker) opendir() (int, unix.Errno) {
	n, errno := w.dir()
	if errno != 0 {
		return 0, errno
	}
	defer w.nodes.put(n)
	fd, err := unix.Openat(n.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, errnoOf(err)
	}
	return 0, w.answerOpen(fd, true)
}

// readdir lists a folder from an offset on, which is the host's own.
func (w *worker) readdir() (int, unix.Errno) {
	return w.withHandle(true, func(h *handle) (int, unix.Errno) {
		off, size := w.args.u64(), w.args.u32()
		if w.args.bad || off > 1<<63-1 {
			return 0, unix.EINVAL
		}
		limit := min(int(min(size, outSize)), w.room())
		if w.dents == nil {
			w.dents = make([]byte, outSize)
		}
		buf := w.dents[:limit]
		h.seek.Lock()
		_, err := unix.Seek(h.fd, int64(off), unix.SEEK_SET)
		n := 0
		if err == nil {
			n, err = unix.Getdents(h.fd, buf)
		}
		h.seek.Unlock()
		if err != nil {
			return 0, errnoOf(err)
		}
		w.list(buf[:n], limit)
		if n > 0 && len(w.reply.b) == 0 {
			return 0, unix.EINVAL // nothing would look like the end
		}
		return 0, 0
	})
}

// list turns struct linux_dirent64 into struct fuse_dirent. What is above the folder
// is the guest's own affair, so ".." has no number of the host's.
func (w *worker) list(b []byte, limit int) {
	const head = 19
	for len(b) >= head {
		size := int(binary.LittleEndian.Uint16(b[16:]))
		if size < head || size > len(b) {
			return
		}
		name := b[head:size]
		if end := bytes.IndexByte(name, 0); end >= 0 {
			name = name[:end]
		}
		ino := binary.LittleEndian.Uint64(b)
		if string(name) == ".." {
			ino = rootNode
		}
		if !w.reply.dirent(limit, ino, binary.LittleEndian.Uint64(b[8:]), b[18], name) {
			return
		}
		b = b[size:]
	}
}
