package fs

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/virtio/queue"
)

// Limits of a server.
const (
	// maxTransfer is the most that one read or write moves, in bytes, and maxPages
	// the same in pages.
	maxTransfer = 1 << 20
	maxPages    = maxTransfer / 4096
	// maxHandles bounds what the guest can have open.
	maxHandles = 16 << 10
	// maxNodes bounds what it can know of, if the process may have so many
	// descriptors; spareFiles is what is left for everything else.
	maxNodes   = 256 << 10
	spareFiles = 512
	// inSize is how much of a request is copied: the header and any operation's
	// arguments, but not the data of a write nor a long extended attribute.
	inSize = 8 << 10
	// maxFixed is the longest fixed part of a request behind the header, and at least
	// that of a write, of which no more is copied.
	maxFixed = 88
	// outSize is the longest answer but that of a read.
	outSize = 32 << 10
)

// server is the file server behind a device: what exists for the device's whole life.
type server struct {
	root     int // O_PATH
	proc     int // /proc/self/fd, by which descriptors are opened anew
	readOnly bool
	owner    Owner
	nodes    *nodes
	handles  *handles
}

func newServer(c Config) (*server, error) {
	root, err := unix.Open(c.Dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: c.Dir, Err: err}
	}
	s := &server{root: root, proc: -1, readOnly: c.ReadOnly, owner: c.Owner}
	if s.proc, err = unix.Open("/proc/self/fd", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("open /proc/self/fd: %w", err), s.close())
	}
	var limit unix.Rlimit
	if err = unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err == nil {
		// A third for open files, two for nodes.
		room := max(int(min(limit.Cur, 1<<20))-spareFiles, 64)
		s.handles = newHandles(min(maxHandles, room/3))
		s.nodes, err = newNodes(root, min(maxNodes, room/3*2))
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// close gives everything back. No worker runs any more.
func (s *server) close() error {
	if s.nodes != nil {
		s.forgetAll()
	}
	err := unix.Close(s.root)
	if s.proc >= 0 {
		err = errors.Join(err, unix.Close(s.proc))
	}
	return err
}

// forgetAll is the end of a mount.
func (s *server) forgetAll() {
	s.handles.releaseAll()
	s.nodes.forgetAll()
}

// worker answers requests one at a time. A device has several.
type worker struct {
	*server
	chain *queue.Chain
	req   header
	args  args
	reply reply
	in    [inSize]byte
	out   []byte   // outHeader and outSize bytes
	dents []byte   // what the host says is in a folder
	parts [][]byte // of a chain, for a read or a write
}

func newWorker(s *server) *worker {
	return &worker{server: s, reply: reply{owner: s.owner}, out: make([]byte, outHeader+outSize)}
}

var (
	errShort  = errors.New("a FUSE request without a whole header")
	errNoRoom = errors.New("a FUSE request without room for an answer")
)

// handle answers one chain. An error is a request that cannot be answered.
func (w *worker) handle(c *queue.Chain) (uint32, error) {
	n := c.Read(w.in[:inHeader+maxFixed])
	h, ok := parseHeader(w.in[:n])
	if !ok {
		return 0, errShort
	}
	if h.opcode != opWrite {
		n += c.ReadAt(w.in[n:], uint64(n))
	}
	w.chain, w.req = c, h
	w.args = args{b: w.in[inHeader:n]}
	w.reply.b = w.out[outHeader:outHeader]
	op, known := lookupOp(h.opcode)
	if known && op.silent {
		_, _ = op.run(w)
		return 0, nil
	}
	if c.WriteLen < outHeader {
		return 0, errNoRoom
	}
	size, errno := 0, unix.ENOSYS
	switch {
	case known && uint64(h.size) != c.ReadLen:
		errno = unix.EINVAL
	case known && op.writes && w.readOnly:
		errno = unix.EROFS
	case known:
		size, errno = op.run(w)
	}
	return w.answer(size, errno), nil
}

// room is how much of a body the driver has room for.
func (w *worker) room() int { return int(min(w.chain.WriteLen-outHeader, outSize)) }

// answer writes the answer: the reply's body, or size bytes that the operation has
// already put behind the header.
func (w *worker) answer(size int, errno unix.Errno) uint32 {
	body := w.reply.b
	if errno == 0 && size == 0 && len(body) > w.room() {
		errno = unix.ERANGE
	}
	if errno != 0 {
		body, size = nil, 0
	}
	if size > 0 {
		body = nil
	}
	putHeader(w.out, size+len(body), w.req.unique, errno)
	w.chain.WriteAt(w.out[:outHeader+len(body)], 0)
	return uint32(outHeader + size + len(body))
}

// op is one operation. run returns the number of bytes that it has put into the
// answer by itself.
type op struct {
	run    func(*worker) (int, unix.Errno)
	writes bool // changes the folder
	silent bool // has no answer
}

// lookupOp finds the operation of an opcode (enum fuse_opcode). What is not here
// (locks, ioctl, poll and so on) the guest's kernel does by itself or not at all.
func lookupOp(code uint32) (op, bool) {
	if code >= uint32(len(ops)) || ops[code].run == nil {
		return op{}, false
	}
	return ops[code], true
}

const opWrite = 16

var ops = [...]op{
	1:       {run: (*worker).lookup},
	2:       {run: (*worker).forget, silent: true},
	3:       {run: (*worker).getattr},
	4:       {run: (*worker).setattr, writes: true},
	5:       {run: (*worker).readlink},
	6:       {run: (*worker).symlink, writes: true},
	8:       {run: (*worker).mknod, writes: true},
	9:       {run: (*worker).mkdir, writes: true},
	10:      {run: (*worker).unlink, writes: true},
	11:      {run: (*worker).rmdir, writes: true},
	12:      {run: (*worker).rename, writes: true},
	13:      {run: (*worker).link, writes: true},
	14:      {run: (*worker).open},
	15:      {run: (*worker).read},
	opWrite: {run: (*worker).write, writes: true},
	17:      {run: (*worker).statfs},
	18:      {run: (*worker).release},
	20:      {run: (*worker).fsync},
	21:      {run: (*worker).setxattr, writes: true},
	22:      {run: (*worker).getxattr},
	23:      {run: (*worker).listxattr},
	24:      {run: (*worker).removexattr, writes: true},
	25:      {run: (*worker).flush},
	26:      {run: (*worker).init},
	27:      {run: (*worker).opendir},
	28:      {run: (*worker).readdir},
	29:      {run: (*worker).release},
	30:      {run: (*worker).fsyncdir},
	35:      {run: (*worker).create, writes: true},
	36:      {run: (*worker).interrupt, silent: true},
	38:      {run: (*worker).destroy},
	42:      {run: (*worker).batchForget, silent: true},
	43:      {run: (*worker).fallocate, writes: true},
	45:      {run: (*worker).rename2, writes: true},
	46:      {run: (*worker).lseek},
	47:      {run: (*worker).copyFileRange, writes: true},
	50:      {run: (*worker).syncfs},
}

// errnoOf is the error number of a system call's result.
func errnoOf(err error) unix.Errno {
	if err == nil {
		return 0
	}
	var e unix.Errno
	if errors.As(err, &e) {
		return e
	}
	return unix.EIO
}
