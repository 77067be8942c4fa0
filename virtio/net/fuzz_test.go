package net

import (
	"encoding/binary"
	"testing"

	"github.com/gureum/gureum/virtio/virtiotest"
)

// FuzzHeader checks frames' headers: what passes is within the frame and within
// what was negotiated.
func FuzzHeader(f *testing.F) {
	f.Add(guestHeader(header{flags: 1, gsoType: gsoTCPv4, hdrLen: 54, gsoSize: 1448, csumStart: 34, csumOffset: 16}), uint64(5000), ^uint64(0))
	f.Add(guestHeader(header{flags: 1, csumStart: 0xffff, csumOffset: 0xffff}), uint64(60), ^uint64(0))
	f.Add(guestHeader(header{gsoType: gsoUDPL4 | gsoECN, gsoSize: 1}), uint64(60), uint64(1)<<FeatureHostUSO)
	f.Add(make([]byte, HeaderSize), uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, frame, features uint64) {
		if len(b) < HeaderSize {
			return
		}
		h, err := parseHeader((*[HeaderSize]byte)(b), frame, features)
		if err != nil {
			return
		}
		var out [HeaderSize]byte
		h.put(&out)
		if out[0]&^flagNeedsCsum != 0 || out[10] != 0 || out[11] != 0 {
			t.Errorf("header % x", out)
		}
		if h.flags != 0 && (features>>FeatureCsum&1 == 0 || uint64(h.csumStart)+uint64(h.csumOffset)+2 > frame) {
			t.Errorf("checksum at %d+%d of %d bytes", h.csumStart, h.csumOffset, frame)
		}
		if uint64(h.hdrLen) > frame {
			t.Errorf("header of %d bytes in %d", h.hdrLen, frame)
		}
		if bit, known := gsoFeature(h.gsoType); h.gsoType != gsoNone && (!known || features>>bit&1 == 0 || h.gsoSize == 0) {
			t.Errorf("segmentation %#x of %d", h.gsoType, h.gsoSize)
		}
		again, err := parseHeader(&out, frame, features)
		if err != nil || again != h {
			t.Errorf("%+v is read back as %+v, %v", h, again, err)
		}
	})
}

// FuzzControl gives control commands to a device. After each it answers, and its
// state is one that it can be in.
func FuzzControl(f *testing.F) {
	f.Add([]byte{classRX, cmdRXPromisc, 1})
	f.Add(append([]byte{classMAC, cmdMACAddrSet}, testMAC[:]...))
	f.Add([]byte{classMAC, cmdMACTableSet, 1, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0})
	f.Add([]byte{classMAC, cmdMACTableSet, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{classMQ, cmdMQPairsSet, 2, 0})
	f.Add([]byte{classOffloads, cmdOffloadsSet, 2, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{classAnnounce, cmdAnnounceAck})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || len(b) > 4096 {
			return
		}
		back := newFake(2)
		dev, d := mustNew(t, back, nil)
		d.Start(virtiotest.AllFeatures)
		cut := len(b) / 2
		parts := [][]byte{b}
		if cut > 0 {
			parts = [][]byte{b[:cut], b[cut:]}
		}
		r, n := d.Queue(4).Do(parts, 1)
		if answer := r.Writable(0)[0]; n != 1 || answer > ackError {
			t.Fatalf("answer %d of %d bytes", answer, n)
		}
		if mac := dev.MAC(); mac[0]&1 != 0 {
			t.Errorf("MAC % x", mac)
		}
		if n := look(back, &back.active); n < 1 || n > 2 {
			t.Errorf("%d pairs", n)
		}
		if n := len(look(back, &back.filter).Addresses); n > 2*maxAddresses+2 {
			t.Errorf("%d addresses", n)
		}
		var c [configSize]byte
		d.Core.ReadConfig(0, c[:])
		if binary.LittleEndian.Uint16(c[8:]) != 2 {
			t.Errorf("config % x", c)
		}
	})
}

// FuzzDevice lets a driver that keeps no rules at the descriptors of all queues.
// Each op is 8 bytes: what to do, queue, descriptor, and the rest.
func FuzzDevice(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x02\x10\x00\x80\x00\x01\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x00\x01\x00\x00\x00\x80\x60\x00\x01\x01\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x00\x04\x00\x01\x00\x80\x60\x00\x01\x04\x00\x00\x00\x00\x00\x00\x02\x04\xff\xff\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, prog []byte) {
		back := newFake(2)
		back.discard = true
		_, d := mustNew(t, back, func(c *Config) { c.QueueSize = 16 })
		d.Start(virtiotest.AllFeatures)
		for steps := 0; len(prog) >= 8 && steps < 64; steps++ {
			op := prog[:8]
			prog = prog[8:]
			q := d.Queue(int(op[1]) % 5)
			switch op[0] % 5 {
			case 0:
				size := uint32(binary.LittleEndian.Uint16(op[5:])) << (op[7] % 17)
				addr := uint64(8<<20) + uint64(op[4])<<12 - uint64(op[7]>>5)<<21
				q.WriteDesc(uint16(op[2])%q.Size, virtiotest.Descriptor{Addr: addr, Len: size, Flags: uint16(op[3] % 8), Next: uint16(op[3] >> 3)})
			case 1:
				q.Publish(uint16(op[2]))
			case 2:
				q.SetAvailIndex(binary.LittleEndian.Uint16(op[2:]))
			case 3:
				back.arrive(int(op[2])%2, frame(int(binary.LittleEndian.Uint16(op[4:])), 1))
			case 4:
				q.Kick()
			}
		}
		for n := range 5 {
			d.Queue(n).Kick()
		}
	})
}
