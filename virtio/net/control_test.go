package net

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/virtiotest"
)

// give gives a command to the control queue n and returns the answer.
func give(d *virtiotest.Driver, n int, class, number byte, data ...[]byte) byte {
	parts := [][]byte{{class, number}}
	if all := bytes.Join(data, nil); len(all) > 0 {
		parts = append(parts, all)
	}
	r, written := d.Queue(n).Do(parts, 1)
	if written != 1 {
		return 0xee
	}
	return r.Writable(0)[0]
}

func le16(v uint16) []byte { return binary.LittleEndian.AppendUint16(nil, v) }
func le32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
func le64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

func TestControlFilter(t *testing.T) {
	f := newFake(1)
	dev, d := mustNew(t, f, nil)
	d.Start(virtiotest.AllFeatures)
	if !look(f, &f.filter).All {
		t.Error("a driver that said nothing does not get all")
	}
	mustOK := func(got byte) {
		t.Helper()
		if got != ackOK {
			t.Fatalf("answer %d", got)
		}
	}
	broadcast := [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	want := func(w Filter) {
		t.Helper()
		got := look(f, &f.filter)
		if got.All != w.All || got.AllMulticast != w.AllMulticast || !slices.Equal(got.Addresses, w.Addresses) {
			t.Errorf("filter %+v, want %+v", got, w)
		}
	}
	mustOK(give(d, 2, classRX, cmdRXPromisc, []byte{0}))
	want(Filter{Addresses: [][6]byte{testMAC, broadcast}})
	mustOK(give(d, 2, classRX, cmdRXAllMulticast, []byte{1}))
	want(Filter{AllMulticast: true, Addresses: [][6]byte{testMAC, broadcast}})
	uni, multi := [6]byte{2, 0, 0, 0, 0, 7}, [6]byte{1, 0, 0x5e, 0, 0, 1}
	mustOK(give(d, 2, classMAC, cmdMACTableSet, le32(1), uni[:], le32(1), multi[:]))
	want(Filter{AllMulticast: true, Addresses: [][6]byte{testMAC, uni, broadcast, multi}})
	mustOK(give(d, 2, classRX, cmdRXNoBroadcast, []byte{1}))
	mustOK(give(d, 2, classRX, cmdRXNoMulticast, []byte{1}))
	want(Filter{AllMulticast: true, Addresses: [][6]byte{testMAC, uni}})
	mustOK(give(d, 2, classRX, cmdRXNoUnicast, []byte{1}))
	want(Filter{AllMulticast: true})
	mustOK(give(d, 2, classRX, cmdRXAllUnicast, []byte{1}))
	want(Filter{All: true})
	mustOK(give(d, 2, classRX, cmdRXAllUnicast, []byte{0}))
	mustOK(give(d, 2, classRX, cmdRXNoUnicast, []byte{0}))
	other := [6]byte{6, 0, 0, 0, 0, 9}
	mustOK(give(d, 2, classMAC, cmdMACAddrSet, other[:]))
	want(Filter{AllMulticast: true, Addresses: [][6]byte{other, uni}})
	if dev.MAC() != other {
		t.Errorf("MAC % x", dev.MAC())
	}
	many := make([]byte, 6*200)
	mustOK(give(d, 2, classMAC, cmdMACTableSet, le32(200), many, le32(0)))
	want(Filter{All: true})
	d.Reset()
	if dev.MAC() != testMAC {
		t.Errorf("MAC % x after a reset", dev.MAC())
	}
}

func TestControlRefuses(t *testing.T) {
	f := newFake(2)
	dev, d := mustNew(t, f, nil)
	d.Start(without(FeatureCtrlRXExtra, FeatureGuestTSO6))
	for name, got := range map[string]byte{
		"class":             give(d, 4, 9, 0),
		"VLAN":              give(d, 4, 2, 0, le16(5)),
		"command":           give(d, 4, classMAC, 7, testMAC[:]),
		"long mode":         give(d, 4, classRX, cmdRXPromisc, []byte{1, 1}),
		"not negotiated":    give(d, 4, classRX, cmdRXNoUnicast, []byte{1}),
		"no mode":           give(d, 4, classRX, cmdRXPromisc),
		"short MAC":         give(d, 4, classMAC, cmdMACAddrSet, testMAC[:5]),
		"multicast MAC":     give(d, 4, classMAC, cmdMACAddrSet, []byte{1, 0, 0, 0, 0, 0}),
		"no table":          give(d, 4, classMAC, cmdMACTableSet, le32(0)),
		"table of 2^32":     give(d, 4, classMAC, cmdMACTableSet, le32(1<<32-1), le32(0)),
		"rest of table":     give(d, 4, classMAC, cmdMACTableSet, le32(0), le32(0), []byte{1}),
		"0 pairs":           give(d, 4, classMQ, cmdMQPairsSet, le16(0)),
		"3 pairs":           give(d, 4, classMQ, cmdMQPairsSet, le16(3)),
		"short pairs":       give(d, 4, classMQ, cmdMQPairsSet, []byte{1}),
		"RSS":               give(d, 4, classMQ, 1, le16(1)),
		"foreign offload":   give(d, 4, classOffloads, cmdOffloadsSet, le64(1<<FeatureGuestTSO6)),
		"offload not guest": give(d, 4, classOffloads, cmdOffloadsSet, le64(1<<FeatureMQ)),
		"long":              give(d, 4, classMAC, cmdMACTableSet, make([]byte, maxCommand)),
		"announce":          give(d, 4, classAnnounce, 0, []byte{1}),
	} {
		if got != ackError {
			t.Errorf("%s: answer %d", name, got)
		}
	}
	if dev.MAC() != testMAC || look(f, &f.active) != 1 {
		t.Error("a refused command did something")
	}
	d.Queue(4).Submit([][]byte{{classRX, cmdRXPromisc, 1}})
	d.Queue(4).Kick()
	d.Eventually("a command without room for an answer breaks the queue", func() bool {
		return d.Core.Status()&virtio.StatusNeedsReset != 0
	})
}

func TestControlOffloads(t *testing.T) {
	f := newFake(1)
	_, d := mustNew(t, f, nil)
	d.Start(virtiotest.AllFeatures)
	if got := look(f, &f.set); got != 0x7f {
		t.Errorf("offloads %#x", got)
	}
	for bits, want := range map[uint64]uint32{
		0:                     0,
		1 << FeatureGuestCsum: OffloadCsum,
		1 << FeatureGuestTSO4: 0, // it needs the checksum
		1<<FeatureGuestCsum | 1<<FeatureGuestTSO4:                                            OffloadCsum | OffloadTSO4,
		1<<FeatureGuestCsum | 1<<FeatureGuestECN:                                             OffloadCsum,
		1<<FeatureGuestCsum | 1<<FeatureGuestUSO4:                                            OffloadCsum,
		1<<FeatureGuestCsum | 1<<FeatureGuestUSO4 | 1<<FeatureGuestUSO6 | 1<<FeatureGuestUFO: OffloadCsum | OffloadUSO4 | OffloadUSO6 | OffloadUFO,
	} {
		if a := give(d, 2, classOffloads, cmdOffloadsSet, le64(bits)); a != ackOK || look(f, &f.set) != want {
			t.Errorf("%#x: answer %d, offloads %#x, want %#x", bits, a, look(f, &f.set), want)
		}
	}
}

func TestPairs(t *testing.T) {
	f := newFake(3)
	_, d := mustNew(t, f, nil)
	d.Start(virtiotest.AllFeatures)
	reqs := make([]*virtiotest.Request, 3)
	for i := range reqs {
		reqs[i] = d.Queue(2*i).Submit(nil, 2000)
		d.Queue(2 * i).Kick()
		f.arrive(i, frame(60, byte(i)))
	}
	d.Queue(0).Wait(reqs[0])
	for _, n := range []int{2, 1, 3} {
		if a := give(d, 6, classMQ, cmdMQPairsSet, le16(uint16(n))); a != ackOK {
			t.Fatalf("%d pairs: answer %d", n, a)
		}
		if look(f, &f.active) != n {
			t.Errorf("%d pairs in the backend, want %d", look(f, &f.active), n)
		}
	}
	for i := 1; i < 3; i++ {
		d.Queue(2 * i).Wait(reqs[i])
		if got := reqs[i].Writable(0)[HeaderSize]; got != byte(i) {
			t.Errorf("pair %d got frame %d", i, got)
		}
		d.Queue(2*i + 1).Do([][]byte{frame(60, byte(i))})
	}
	if len(f.sent()) != 2 {
		t.Errorf("%d frames", len(f.sent()))
	}
}

// TestControlWithoutMQ has the control queue behind the first pair.
func TestControlWithoutMQ(t *testing.T) {
	f := newFake(2)
	_, d := mustNew(t, f, nil)
	d.Start(without(FeatureMQ))
	if a := give(d, 2, classRX, cmdRXPromisc, []byte{1}); a != ackOK {
		t.Errorf("answer %d", a)
	}
	if a := give(d, 2, classMQ, cmdMQPairsSet, le16(2)); a != ackError {
		t.Errorf("pairs: answer %d", a)
	}
}

func TestAnnounce(t *testing.T) {
	dev, d := mustNew(t, newFake(1), nil)
	dev.Announce() // nobody is there
	d.Start(virtiotest.AllFeatures)
	status := func() uint16 {
		var b [2]byte
		d.Core.ReadConfig(6, b[:])
		return binary.LittleEndian.Uint16(b[:])
	}
	if s := status(); s != statusLinkUp {
		t.Errorf("status %d", s)
	}
	dev.Announce()
	if s := status(); s != statusLinkUp|statusAnnounce || d.ConfigInterrupts() != 1 {
		t.Errorf("status %d, %d interrupts", s, d.ConfigInterrupts())
	}
	if a := give(d, 2, classAnnounce, cmdAnnounceAck); a != ackOK {
		t.Errorf("answer %d", a)
	}
	if s := status(); s != statusLinkUp {
		t.Errorf("status %d", s)
	}
}
