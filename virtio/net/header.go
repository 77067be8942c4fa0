package net

import (
	"encoding/binary"
	"errors"
)

// Flags and GSO types of a frame's header (section 5.1.6).
const (
	flagNeedsCsum = 1

	gsoNone  = 0
	gsoTCPv4 = 1
	gsoUDP   = 3
	gsoTCPv6 = 4
	gsoUDPL4 = 5
	gsoECN   = 0x80
)

// Limits of a frame in bytes, its header included. The largest is an IPv6 packet
// of the largest payload with two VLAN tags: the most that a kernel hands over.
const (
	etherHeader = 14
	minFrame    = HeaderSize + etherHeader
	maxFrame    = HeaderSize + etherHeader + 2*4 + 40 + 65535
)

// header is struct virtio_net_hdr_v1 without num_buffers.
type header struct {
	flags, gsoType                         uint8
	hdrLen, gsoSize, csumStart, csumOffset uint16
}

// What can be wrong with a frame. They are values, since a guest can bring them
// about a million times a second.
var (
	errShort       = errors.New("frame without a whole header")
	errLong        = errors.New("frame longer than any packet")
	errCsumFeature = errors.New("checksum offload that was not negotiated")
	errCsumPlace   = errors.New("checksum outside the frame")
	errGSOFeature  = errors.New("segmentation that was not negotiated")
	errGSOSize     = errors.New("segments of 0 bytes")
	errGSOCsum     = errors.New("segmentation without a checksum to fill in")
)

// gsoFeature names the feature that allows a GSO type in what the guest sends.
func gsoFeature(gsoType uint8) (bit uint, known bool) {
	switch gsoType &^ gsoECN {
	case gsoTCPv4:
		return FeatureHostTSO4, true
	case gsoTCPv6:
		return FeatureHostTSO6, true
	case gsoUDP:
		return FeatureHostUFO, true
	case gsoUDPL4:
		return FeatureHostUSO, true
	}
	return 0, false
}

// parseHeader reads and checks the header of a frame that the guest sends,
// frame being the number of bytes behind it. What the driver did not negotiate it
// must not use (section 5.1.6.2.1); flags that the device does not know are left
// out (section 5.1.6.2.2).
func parseHeader(b *[HeaderSize]byte, frame uint64, features uint64) (header, error) {
	h := header{
		flags:      b[0] & flagNeedsCsum,
		gsoType:    b[1],
		hdrLen:     binary.LittleEndian.Uint16(b[2:]),
		gsoSize:    binary.LittleEndian.Uint16(b[4:]),
		csumStart:  binary.LittleEndian.Uint16(b[6:]),
		csumOffset: binary.LittleEndian.Uint16(b[8:]),
	}
	if h.flags == 0 {
		h.csumStart, h.csumOffset = 0, 0
	} else if features>>FeatureCsum&1 == 0 {
		return header{}, errCsumFeature
	} else if uint64(h.csumStart)+uint64(h.csumOffset)+2 > frame {
		return header{}, errCsumPlace
	}
	if uint64(h.hdrLen) > frame {
		h.hdrLen = 0 // a hint only
	}
	if h.gsoType == gsoNone {
		h.gsoSize = 0
		return h, nil
	}
	bit, known := gsoFeature(h.gsoType)
	switch {
	case !known || features>>bit&1 == 0:
		return header{}, errGSOFeature
	case h.gsoType&gsoECN != 0 && features>>FeatureHostECN&1 == 0:
		return header{}, errGSOFeature
	case h.gsoSize == 0:
		return header{}, errGSOSize
	case h.flags == 0 && h.gsoType&^gsoECN != gsoUDP:
		return header{}, errGSOCsum
	}
	return h, nil
}

// put writes the header for the backend.
func (h *header) put(b *[HeaderSize]byte) {
	b[0], b[1] = h.flags, h.gsoType
	binary.LittleEndian.PutUint16(b[2:], h.hdrLen)
	binary.LittleEndian.PutUint16(b[4:], h.gsoSize)
	binary.LittleEndian.PutUint16(b[6:], h.csumStart)
	binary.LittleEndian.PutUint16(b[8:], h.csumOffset)
	b[10], b[11] = 0, 0
}
