package agent

import (
	"encoding/binary"
	"errors"
	"strings"
)

// stream numbers used by Window and Closed frames.
const (
	streamStdin  uint8 = 0
	streamStdout uint8 = 1
	streamStderr uint8 = 2
)

// Flags of an Exec request.
const (
	execTTY      uint16 = 1 << iota // run on a pseudo-terminal
	execNoStdin                     // standard input is empty
	execCleanEnv                    // do not add the guest's default environment
	execKnown    = execTTY | execNoStdin | execCleanEnv
)

// execRequest is the payload of an Exec frame (or of several, joined).
type execRequest struct {
	flags        uint16
	rows, cols   uint16
	stdoutWindow uint32
	stderrWindow uint32
	dir          string
	args, env    []string
}

var (
	errNoArgs  = errors.New("no command given")
	errTooLong = errors.New("arguments and environment are longer than 1 MiB: pass them through standard input or a file")
	errNUL     = errors.New("argument, environment or directory holds a NUL byte")
)

func (e *execRequest) encode() ([]byte, error) {
	if len(e.args) == 0 {
		return nil, errNoArgs
	}
	size := 14 + 4 + len(e.dir) + 8
	for _, list := range [][]string{e.args, e.env} {
		for _, s := range list {
			size += 4 + len(s)
		}
	}
	if size > MaxExec {
		return nil, errTooLong
	}
	b := make([]byte, 0, size)
	b = binary.LittleEndian.AppendUint16(b, e.flags)
	b = binary.LittleEndian.AppendUint16(b, e.rows)
	b = binary.LittleEndian.AppendUint16(b, e.cols)
	b = binary.LittleEndian.AppendUint32(b, e.stdoutWindow)
	b = binary.LittleEndian.AppendUint32(b, e.stderrWindow)
	b = appendString(b, e.dir)
	b = appendList(b, e.args)
	b = appendList(b, e.env)
	if !e.clean() {
		return nil, errNUL
	}
	return b, nil
}

func (e *execRequest) clean() bool {
	ok := !hasNUL(e.dir)
	for _, s := range e.args {
		ok = ok && !hasNUL(s)
	}
	for _, s := range e.env {
		ok = ok && !hasNUL(s)
	}
	return ok
}

func hasNUL(s string) bool {
	for i := range len(s) {
		if s[i] == 0 {
			return true
		}
	}
	return false
}

func appendString(b []byte, s string) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}

func appendList(b []byte, list []string) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

func parseExec(p []byte) (*execRequest, error) {
	d := decoder{p: p}
	e := &execRequest{
		flags: d.u16(), rows: d.u16(), cols: d.u16(),
		stdoutWindow: d.u32(), stderrWindow: d.u32(),
		dir: d.str(), args: d.list(), env: d.list(),
	}
	switch {
	case !d.done():
		return nil, &ProtocolError{"malformed exec"}
	case e.flags&^execKnown != 0:
		return nil, &ProtocolError{"unknown exec flags"}
	case len(e.args) == 0:
		return nil, &ProtocolError{"exec without a command"}
	case !e.clean():
		return nil, &ProtocolError{"exec holds a NUL byte"}
	case !validWindow(e.stdoutWindow) || !validWindow(e.stderrWindow):
		return nil, &ProtocolError{"exec window out of range"}
	}
	return e, nil
}

func validWindow(n uint32) bool { return n > 0 && n <= MaxWindow }

// decoder reads a payload; after the first fault it returns zeros.
type decoder struct {
	p   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n > len(d.p) {
		d.bad = true
		return nil
	}
	b := d.p[:n]
	d.p = d.p[n:]
	return b
}

func (d *decoder) u8() uint8 {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) u16() uint16 {
	if b := d.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if b := d.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) str() string {
	n := d.u32()
	if n > MaxExec {
		d.bad = true
	}
	return string(d.take(int(n)))
}

func (d *decoder) list() []string {
	n := d.u32()
	// Each element takes at least its length field, which bounds the count.
	if d.bad || uint64(n)*4 > uint64(len(d.p)) {
		d.bad = true
		return nil
	}
	out := make([]string, n)
	for i := range out {
		out[i] = d.str()
	}
	return out
}

// done reports whether the payload was read exactly to its end.
func (d *decoder) done() bool { return !d.bad && len(d.p) == 0 }

// window is the payload of a Window frame.
type window struct {
	stream uint8
	delta  uint32
}

func (w window) frame(channel uint16) []byte {
	b := binary.LittleEndian.AppendUint32([]byte{w.stream}, w.delta)
	return newFrame(typeWindow, channel, b)
}

func parseWindow(p []byte) (window, error) {
	d := decoder{p: p}
	w := window{d.u8(), d.u32()}
	if !d.done() || w.stream > streamStderr || !validWindow(w.delta) {
		return w, &ProtocolError{"malformed window"}
	}
	return w, nil
}

func closedFrame(channel uint16, stream uint8) []byte {
	return newFrame(typeClosed, channel, []byte{stream})
}

func parseClosed(p []byte) (uint8, error) {
	if len(p) != 1 || p[0] > streamStderr {
		return 0, &ProtocolError{"malformed closed"}
	}
	return p[0], nil
}

// ExitStatus is how a command ended. A command that a signal ended has Signal
// set and Code 0.
type ExitStatus struct {
	Code     int  // 0 to 255
	Signal   int  // signal number, 0 when the command exited by itself
	CoreDump bool // the signal left a core dump in the guest
}

// ExitCode is the status as a shell reports it: 128+Signal for a signal.
func (s ExitStatus) ExitCode() int {
	if s.Signal != 0 {
		return 128 + s.Signal
	}
	return s.Code
}

func (s ExitStatus) frame(channel uint16) []byte {
	core := byte(0)
	if s.CoreDump {
		core = 1
	}
	return newFrame(typeExit, channel, []byte{byte(s.Code), byte(s.Signal), core})
}

func parseExit(p []byte) (ExitStatus, error) {
	if len(p) != 3 || p[1] > 64 || p[2] > 1 || (p[1] != 0 && p[0] != 0) {
		return ExitStatus{}, &ProtocolError{"malformed exit"}
	}
	return ExitStatus{Code: int(p[0]), Signal: int(p[1]), CoreDump: p[2] == 1}, nil
}

// ExecError says why a command could not be started in the guest.
type ExecError struct {
	Code    int    // 127: not found, 126: found but cannot be run
	Errno   int    // the guest's errno, 0 when there is none
	Message string // what failed, on what
}

func (e *ExecError) Error() string { return e.Message }

const maxMessage = 1024

func (e *ExecError) frame(channel uint16) []byte {
	b := []byte{byte(e.Code)}
	b = binary.LittleEndian.AppendUint16(b, uint16(e.Errno))
	return newFrame(typeExecError, channel, append(b, clip(e.Message)...))
}

func parseExecError(p []byte) (*ExecError, error) {
	d := decoder{p: p}
	code, errno := d.u8(), d.u16()
	if d.bad || (code != 126 && code != 127) || len(d.p) > maxMessage {
		return nil, &ProtocolError{"malformed exec error"}
	}
	return &ExecError{Code: int(code), Errno: int(errno), Message: printable(d.p)}, nil
}

func clip(s string) string {
	if len(s) > maxMessage {
		return s[:maxMessage]
	}
	return s
}

// printable keeps a guest from sending terminal escapes through our errors.
func printable(p []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(string(p), "?"))
}

// ShutdownKind is how a guest is asked to end.
type ShutdownKind uint8

// Kinds of shutdown.
const (
	PowerOff ShutdownKind = 1 + iota
	Reboot
	Halt
)

func parseShutdown(p []byte) (ShutdownKind, error) {
	if len(p) != 1 || p[0] < byte(PowerOff) || p[0] > byte(Halt) {
		return 0, &ProtocolError{"malformed shutdown"}
	}
	return ShutdownKind(p[0]), nil
}
