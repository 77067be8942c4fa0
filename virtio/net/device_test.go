package net

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/virtiotest"
)

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"MTU":        func(c *Config) { c.MTU = 67 },
		"queue size": func(c *Config) { c.QueueSize = 100 },
		"long queue": func(c *Config) { c.QueueSize = 2048 },
		"group MAC":  func(c *Config) { c.MAC = [6]byte{1} },
		"no MAC":     func(c *Config) { c.MAC = [6]byte{} },
		"no pairs":   func(c *Config) { c.Backend.(*fake).pairs = 0 },
		"many pairs": func(c *Config) { c.Backend.(*fake).pairs = MaxPairs + 1 },
	} {
		f := newFake(1)
		cfg := Config{Backend: f, MAC: testMAC, MTU: 1500}
		change(&cfg)
		if _, err := New(cfg); err == nil || !f.closed {
			t.Errorf("%s: %v, closed %v", name, err, f.closed)
		}
	}
}

func TestConfigSpace(t *testing.T) {
	dev, d := mustNew(t, newFake(4), nil)
	if dev.Type() != virtio.TypeNet || len(dev.QueueSizes()) != 9 {
		t.Errorf("type %d, %d queues", dev.Type(), len(dev.QueueSizes()))
	}
	c := make([]byte, 24)
	d.Core.ReadConfig(0, c)
	if [6]byte(c) != testMAC {
		t.Errorf("MAC % x", c[:6])
	}
	for off, want := range map[int]uint16{6: statusLinkUp, 8: 4, 10: 1400, 12: DefaultSpeed, 14: 0, 16: duplexFull, 18: 0} {
		if got := binary.LittleEndian.Uint16(c[off:]); got != want {
			t.Errorf("at %d: %d, want %d", off, got, want)
		}
	}
	d.Core.WriteConfig(0, []byte{9, 9, 9, 9, 9, 9})
	if dev.MAC() != testMAC {
		t.Error("the MAC was written")
	}
	d.Core.ReadConfig(1<<63, c)
	d.Core.ReadConfig(16, c)
	if c[0] != duplexFull || c[1] != 0 {
		t.Errorf("end of the space: % x", c)
	}
}

func TestFeatures(t *testing.T) {
	for _, tt := range []struct {
		offloads  uint32
		pairs     int
		mtu       uint16
		has, lack []uint
	}{
		{0x7f, 2, 1500, []uint{FeatureMQ, FeatureMTU, FeatureHostUSO, FeatureGuestUSO4, FeatureHostUFO, FeatureGuestTSO6, FeatureCtrlGuestOffloads}, nil},
		{0x0f, 1, 0, []uint{FeatureCsum, FeatureGuestECN}, []uint{FeatureMQ, FeatureMTU, FeatureHostUFO, FeatureHostUSO}},
		{0x2f, 1, 0, nil, []uint{FeatureHostUSO}},
		{0, 1, 0, []uint{FeatureMAC, FeatureMergeableRX, FeatureStatus}, []uint{FeatureCsum, FeatureGuestCsum, FeatureCtrlGuestOffloads}},
	} {
		f := newFake(tt.pairs)
		f.offloads = tt.offloads
		dev, _ := mustNew(t, f, func(c *Config) { c.MTU = tt.mtu })
		for _, b := range tt.has {
			if dev.Features()>>b&1 == 0 {
				t.Errorf("offloads %#x: feature %d is missing", tt.offloads, b)
			}
		}
		for _, b := range tt.lack {
			if dev.Features()>>b&1 != 0 {
				t.Errorf("offloads %#x: feature %d is offered", tt.offloads, b)
			}
		}
	}
}

func TestLinkAfterClose(t *testing.T) {
	dev, d := mustNew(t, newFake(1), nil)
	d.Close()
	if dev.SetLink(false) == nil {
		t.Error("no error")
	}
}

// TestResetInFlight resets while frames go both ways, and starts again.
func TestResetInFlight(t *testing.T) {
	f := newFake(2)
	_, d := mustNew(t, f, nil)
	for round := range 30 {
		d.Start(virtiotest.AllFeatures)
		f.do(func() { f.full = round%3 == 0 })
		give(d, 4, classMQ, cmdMQPairsSet, le16(2))
		for pair := range 2 {
			for i := range 50 {
				d.Queue(2*pair).Submit(nil, 500)
				d.Queue(2*pair + 1).Submit([][]byte{frame(60, byte(i))})
				f.arrive(pair, frame(2000, byte(i)))
			}
			d.Queue(2 * pair).Kick()
			d.Queue(2*pair + 1).Kick()
		}
		time.Sleep(time.Duration(round%5) * 100 * time.Microsecond)
		d.Reset()
		before := [...]uint16{d.Queue(0).UsedIndex(), d.Queue(1).UsedIndex(), d.Queue(2).UsedIndex(), d.Queue(3).UsedIndex()}
		time.Sleep(time.Millisecond)
		for n := range before {
			if d.Queue(n).UsedIndex() != before[n] {
				t.Fatalf("queue %d is used after a reset", n)
			}
		}
	}
}

func TestRingReset(t *testing.T) {
	f := newFake(1)
	_, d := mustNew(t, f, nil)
	d.Start(virtiotest.AllFeatures)
	for range 3 {
		for n := range 3 {
			d.Core.ResetQueue(n)
		}
		d.SetUpQueues()
		f.arrive(0, frame(60, 7))
		r, _ := d.Queue(0).Do(nil, 2000)
		if r.Writable(0)[HeaderSize] != 7 {
			t.Error("wrong frame")
		}
		d.Queue(1).Do([][]byte{frame(60, 1)})
		if a := give(d, 2, classRX, cmdRXPromisc, []byte{1}); a != ackOK {
			t.Errorf("answer %d", a)
		}
	}
	if len(f.sent()) != 3 {
		t.Errorf("%d frames", len(f.sent()))
	}
}

// TestHammer has a hostile driver at the device while frames come in.
func TestHammer(t *testing.T) {
	for seed := range uint64(4) {
		f := newFake(2)
		f.discard = true
		f.repeat = frame(3000, 1)
		f.repeated = 1 << 30
		newDevice := func() virtio.Device {
			d, err := New(Config{Backend: f, MAC: testMAC, MTU: 1500, QueueSize: 64, Vhost: VhostOff})
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		virtiotest.Hammer(t, newDevice, 20000, seed,
			append(guestHeader(header{flags: 1, gsoType: gsoTCPv4, hdrLen: 54, gsoSize: 1448, csumStart: 34, csumOffset: 16}), frame(200, 1)[HeaderSize:]...),
			[]byte{classMQ, cmdMQPairsSet, 2, 0},
			[]byte{classMAC, cmdMACTableSet, 0, 0, 0, 0, 0, 0, 0, 0},
			[]byte{classRX, cmdRXPromisc, 1},
			[]byte{classOffloads, cmdOffloadsSet, 2, 0, 0, 0, 0, 0, 0, 0})
	}
}
