package agent

import (
	"encoding/binary"
	"errors"
)

// Protocol constants; docs/agent-protocol.md states each of them.
const (
	// Version is the highest protocol version that this package speaks.
	Version = 1
	// MinVersion is the lowest protocol version that this package speaks.
	MinVersion = 1

	// MaxPayload is the largest payload of one frame, in bytes.
	MaxPayload = 64 << 10
	// MaxExec is the largest encoded command (arguments, environment and
	// directory together), in bytes, summed over all its frames.
	MaxExec = 1 << 20
	// MaxWindow is the most bytes of one stream that may be on their way.
	MaxWindow = 1 << 20

	headerSize = 8
	// chunk is the largest data payload we send: small enough that a control
	// frame never waits long behind it on a slow line.
	chunk = 16 << 10
)

// frameType says what a frame carries. Types with the same number mean the
// same in both directions.
type frameType uint8

const (
	typeHostHello  frameType = 0x01 // host to guest: opens a connection
	typeGuestHello frameType = 0x02 // guest to host: agent started, or answer

	typeExec     frameType = 0x10 // host to guest
	typeStdin    frameType = 0x11 // host to guest
	typeStdinEOF frameType = 0x12 // host to guest
	typeResize   frameType = 0x13 // host to guest
	typeSignal   frameType = 0x14 // host to guest
	typeWindow   frameType = 0x15 // both: more bytes of a stream may be sent
	typeClosed   frameType = 0x16 // both: receiver of a stream wants no more
	typeCopy     frameType = 0x17 // host to guest, with FeatureCopy

	typeStarted   frameType = 0x20 // guest to host
	typeStdout    frameType = 0x21 // guest to host
	typeStderr    frameType = 0x22 // guest to host
	typeExit      frameType = 0x23 // guest to host
	typeExecError frameType = 0x24 // guest to host
	typeCopyError frameType = 0x25 // guest to host

	typeShutdown     frameType = 0x30 // host to guest
	typeShutdownDone frameType = 0x31 // guest to host: request was taken
	typePing         frameType = 0x32 // host to guest
	typePong         frameType = 0x33 // guest to host
	typeInfo         frameType = 0x34 // host to guest, with FeatureInfo
	typeInfoReply    frameType = 0x35 // guest to host
	typeSetTime      frameType = 0x36 // host to guest, with FeatureSetTime
	typeSetTimeDone  frameType = 0x37 // guest to host
	typeError        frameType = 0x3f // both: the sender gives up
)

// flagMore marks an Exec frame whose payload goes on in the next one.
const flagMore uint8 = 1

// header is the fixed start of each frame: type u8, flags u8, channel u16,
// length u32, all little-endian. Channel 0 is the connection itself, any other
// is one command.
type header struct {
	typ     frameType
	flags   uint8
	channel uint16
	length  uint32
}

func (h header) put(b []byte) {
	b[0] = byte(h.typ)
	b[1] = h.flags
	binary.LittleEndian.PutUint16(b[2:], h.channel)
	binary.LittleEndian.PutUint32(b[4:], h.length)
}

func parseHeader(b []byte) (header, error) {
	h := header{
		typ:     frameType(b[0]),
		flags:   b[1],
		channel: binary.LittleEndian.Uint16(b[2:]),
		length:  binary.LittleEndian.Uint32(b[4:]),
	}
	if h.length > MaxPayload {
		return h, &ProtocolError{"frame longer than 64 KiB"}
	}
	if h.flags != 0 && (h.typ != typeExec || h.flags != flagMore) {
		return h, &ProtocolError{"unknown frame flags"}
	}
	return h, nil
}

// newFrame returns a frame with its header in place.
func newFrame(t frameType, channel uint16, payload []byte) []byte {
	b := make([]byte, headerSize+len(payload))
	header{typ: t, channel: channel, length: uint32(len(payload))}.put(b)
	copy(b[headerSize:], payload)
	return b
}

// helloMagic marks the only place where a stream can be entered. Like PNG's
// signature it holds bytes that a terminal line discipline changes, so that a
// UART which is not in raw mode yet is not mistaken for a clean one.
const helloMagic = "GUREUM-AGENT\r\n\x1a\n"

const helloPayload = 40

// Features are what a guest agent offers beyond running commands.
type Features uint32

// Features of version 1.
const (
	FeatureTTY      Features = 1 << iota // commands on a pseudo-terminal
	FeatureShutdown                      // Shutdown is carried out
	FeatureCopy                          // files can be copied both ways
	FeatureInfo                          // the guest tells how it fares
	FeatureSetTime                       // the host can set the clock
)

// hello opens a connection. Its size and place in the frame never change, in
// any version, so that it can be found in a stream of unknown content.
type hello struct {
	version, minVersion uint16
	features            Features
	nonce               uint64
	maxCommands         uint16
}

func (h hello) frame(t frameType) []byte {
	b := make([]byte, headerSize+helloPayload)
	header{typ: t, length: helloPayload}.put(b)
	p := b[headerSize:]
	copy(p, helloMagic)
	binary.LittleEndian.PutUint16(p[16:], h.version)
	binary.LittleEndian.PutUint16(p[18:], h.minVersion)
	binary.LittleEndian.PutUint32(p[20:], uint32(h.features))
	binary.LittleEndian.PutUint64(p[24:], h.nonce)
	binary.LittleEndian.PutUint16(p[32:], h.maxCommands)
	return b // 34..39 are reserved: zero when sent, ignored when received
}

func parseHello(p []byte) (hello, error) {
	if len(p) != helloPayload || string(p[:len(helloMagic)]) != helloMagic {
		return hello{}, &ProtocolError{"malformed hello"}
	}
	h := hello{
		version:     binary.LittleEndian.Uint16(p[16:]),
		minVersion:  binary.LittleEndian.Uint16(p[18:]),
		features:    Features(binary.LittleEndian.Uint32(p[20:])),
		nonce:       binary.LittleEndian.Uint64(p[24:]),
		maxCommands: binary.LittleEndian.Uint16(p[32:]),
	}
	if h.version == 0 || h.minVersion == 0 || h.minVersion > h.version {
		return hello{}, &ProtocolError{"malformed hello"}
	}
	return h, nil
}

// compatible says whether both sides have a version in common; the one in use
// is the lower of the two highest.
func (h hello) compatible() bool {
	return h.minVersion <= Version && h.version >= MinVersion
}

// ErrVersion is returned by Dial when guest and host speak no common version.
var ErrVersion = errors.New("guest agent speaks no protocol version in common with this program: use a matching guest")

// ProtocolError says which rule of the protocol the peer broke. The connection
// is over when it is returned.
type ProtocolError struct{ Rule string }

func (e *ProtocolError) Error() string { return "agent protocol broken by peer: " + e.Rule }
