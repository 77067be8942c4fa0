package agent

import (
	"encoding/binary"
	"errors"
	"io"
	"path"

	"golang.org/x/sys/unix"
)

// Directions of a copy.
const (
	copyToGuest   = 1
	copyFromGuest = 2
)

// copyRequest is the payload of a Copy frame.
type copyRequest struct {
	direction uint8
	window    uint32 // for a copy from the guest
	path      string // in the guest
	base      string // what the object is called in a directory; for a copy to the guest
}

func (r *copyRequest) frame() []byte {
	b := []byte{r.direction}
	b = binary.LittleEndian.AppendUint32(b, r.window)
	b = appendString(b, r.path)
	return newFrame(typeCopy, 0, appendString(b, r.base))
}

func parseCopy(p []byte) (*copyRequest, error) {
	d := decoder{p: p}
	r := &copyRequest{direction: d.u8(), window: d.u32(), path: d.str(), base: d.str()}
	switch {
	case !d.done() || r.direction < copyToGuest || r.direction > copyFromGuest || !validWindow(r.window):
		return nil, &ProtocolError{"malformed copy"}
	case r.path == "" || len(r.path) > maxName || len(r.base) > maxName || hasNUL(r.path) || hasNUL(r.base):
		return nil, &ProtocolError{"copy with an impossible path"}
	}
	return r, nil
}

// CopyError says why a copy failed in the guest.
type CopyError struct {
	Errno   int    // the guest's errno, 0 when there is none
	Message string // what failed, on what
}

func (e *CopyError) Error() string { return "in the guest: " + e.Message }

func (e *CopyError) frame(channel uint16) []byte {
	b := binary.LittleEndian.AppendUint16(nil, uint16(e.Errno))
	return newFrame(typeCopyError, channel, append(b, clip(e.Message)...))
}

func parseCopyError(p []byte) (*CopyError, error) {
	d := decoder{p: p}
	errno := d.u16()
	if d.bad || len(d.p) > maxMessage {
		return nil, &ProtocolError{"malformed copy error"}
	}
	return &CopyError{Errno: int(errno), Message: printable(d.p)}, nil
}

// transfer carries out a copy on the guest's side. It is a command without a process:
// to the guest it reads its stdin, from the guest it writes its stdout.
func (cmd *command) transfer(r *copyRequest) {
	err := cmd.move(r)
	cmd.stdin.close()
	cmd.c.forget(cmd.channel)
	if err == nil {
		cmd.c.out.last(ExitStatus{}.frame(cmd.channel))
		return
	}
	e := &CopyError{Message: err.Error()}
	var errno unix.Errno
	if errors.As(err, &errno) {
		e.Errno = int(errno)
	}
	cmd.c.out.last(e.frame(cmd.channel))
}

func (cmd *command) move(r *copyRequest) error {
	opts := cmd.c.opts
	if opts.Ready != nil {
		if err := opts.Ready(); err != nil {
			return err
		}
	}
	b := binary.LittleEndian.AppendUint32(nil, 0)
	cmd.c.out.post(newFrame(typeStarted, cmd.channel, binary.LittleEndian.AppendUint32(b, stdinWindow)), nil)
	where := within(opts.Dir, r.path)
	if r.direction == copyFromGuest {
		return pack(&creditWriter{cmd: cmd, buf: make([]byte, headerSize+chunk)}, where)
	}
	return unpack(&queueReader{q: cmd.stdin, grant: func(n int) {
		cmd.c.out.post(window{streamStdin, uint32(n)}.frame(cmd.channel), nil)
	}}, where, path.Base(r.base), modeBits, CopyLimits{})
}

// queueReader reads a queue, and grants more as it is read.
type queueReader struct {
	q     *queue
	left  []byte
	taken int
	grant func(n int)
}

// Read implements io.Reader.
func (r *queueReader) Read(p []byte) (int, error) {
	if len(r.left) == 0 {
		if r.taken > 0 {
			if n := r.q.done(r.taken); n > 0 {
				r.grant(n)
			}
			r.taken = 0
		}
		if r.left = r.q.take(); r.left == nil {
			return 0, io.EOF
		}
		r.taken = len(r.left)
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// creditWriter sends stdout as far as the host gives credit.
type creditWriter struct {
	cmd *command
	buf []byte
}

var errNotTaken = errors.New("the host does not take the copy any more")

// Write implements io.Writer.
func (w *creditWriter) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		n := w.cmd.out[0].take(min(len(p), chunk))
		if n == 0 {
			return total - len(p), errNotTaken
		}
		header{typ: typeStdout, channel: w.cmd.channel, length: uint32(n)}.put(w.buf)
		copy(w.buf[headerSize:], p[:n])
		if err := w.cmd.c.out.bulk(w.buf[:headerSize+n]); err != nil {
			return total - len(p), err
		}
		p = p[n:]
	}
	return total, nil
}
