package blk

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/ratelimit"
	"github.com/gureum/gureum/virtio/virtiotest"
)

const mib = 1 << 20

func TestReadAndWrite(t *testing.T) {
	content := pattern(mib)
	eachKind(t, content, func(t *testing.T, cfg Config, now func() []byte) {
		g := start(t, cfg)
		want := bytes.Clone(content)
		for _, parts := range [][]int{{512}, {4096}, {512, 4096, 512}, {1, 511}, {3, 1000, 21}, {65536, 65536}} {
			total := 0
			for _, n := range parts {
				total += n
			}
			for _, sector := range []int{0, 1, 7, 8, 1000, (mib - total) / SectorSize} {
				if got := g.read(uint64(sector), parts...); !bytes.Equal(got, want[sector*SectorSize:][:total]) {
					t.Fatalf("read of %v at sector %d differs", parts, sector)
				}
				var out [][]byte
				at := want[sector*SectorSize:]
				for i, n := range parts {
					p := bytes.Repeat([]byte{byte(sector + i + n + 1)}, n)
					at = at[copy(at, p):]
					out = append(out, p)
				}
				g.write(uint64(sector), out...)
				if got := g.read(uint64(sector), total); !bytes.Equal(got, want[sector*SectorSize:][:total]) {
					t.Fatalf("what was written as %v at sector %d reads differently", parts, sector)
				}
			}
		}
		if s, _ := g.do(typeFlush, 0, nil); s != statusOK {
			t.Errorf("flush: status %d", s)
		}
		if got := now(); !bytes.Equal(got, want) {
			t.Error("the disk holds other bytes than were written")
		}
		if g.log.String() != "" {
			t.Error(g.log)
		}
	})
}

// TestAnswers holds the status and the disk after each kind of request.
func TestAnswers(t *testing.T) {
	data := bytes.Repeat([]byte{9}, 1024)
	const end = mib / SectorSize
	tests := []struct {
		name   string
		kind   uint32
		sector uint64
		out    [][]byte
		in     []int
		status byte
		zero   [2]int // bytes that read zero afterwards
	}{
		{name: "read of nothing", kind: typeIn, in: nil},
		{name: "read at the end", kind: typeIn, sector: end - 1, in: []int{512}},
		{name: "read behind the end", kind: typeIn, sector: end, in: []int{512}, status: statusIOErr},
		{name: "read over the end", kind: typeIn, sector: end - 1, in: []int{1024}, status: statusIOErr},
		{name: "read far away", kind: typeIn, sector: 1<<64 - 1, in: []int{512}, status: statusIOErr},
		{name: "read that overflows", kind: typeIn, sector: 1 << 55, in: []int{512}, status: statusIOErr},
		{name: "read of half a sector", kind: typeIn, in: []int{256}, status: statusIOErr},
		{name: "read with data", kind: typeIn, out: [][]byte{data}, in: []int{512}, status: statusIOErr},
		{name: "write behind the end", kind: typeOut, sector: end - 1, out: [][]byte{data}, status: statusIOErr},
		{name: "write of half a sector", kind: typeOut, out: [][]byte{data[:100]}, status: statusIOErr},
		{name: "write with room", kind: typeOut, out: [][]byte{data}, in: []int{512}, status: statusIOErr},
		{name: "flush", kind: typeFlush},
		{name: "discard", kind: typeDiscard, out: [][]byte{rangeOf(8, 8, 0)}, zero: [2]int{4096, 8192}},
		{name: "discard two", kind: typeDiscard, out: [][]byte{rangeOf(16, 8, 0), rangeOf(24, 8, 0)}, zero: [2]int{8192, 16384}},
		{name: "discard nothing", kind: typeDiscard, out: [][]byte{rangeOf(0, 0, 0)}},
		{name: "discard without ranges", kind: typeDiscard, status: statusIOErr},
		{name: "discard half a range", kind: typeDiscard, out: [][]byte{rangeOf(0, 8, 0)[:8]}, status: statusIOErr},
		{name: "discard unmap", kind: typeDiscard, out: [][]byte{rangeOf(0, 8, 1)}, status: statusUnsupported},
		{name: "discard behind the end", kind: typeDiscard, out: [][]byte{rangeOf(end, 1, 0)}, status: statusIOErr},
		{name: "discard too much", kind: typeDiscard, out: [][]byte{rangeOf(0, maxDiscardSectors+1, 0)}, status: statusIOErr},
		{name: "second range bad", kind: typeDiscard, out: [][]byte{rangeOf(0, 8, 0), rangeOf(end, 1, 0)}, status: statusIOErr},
		{name: "too many ranges", kind: typeDiscard, out: [][]byte{bytes.Repeat(rangeOf(0, 1, 0), maxRangeSegments+1)}, status: statusIOErr},
		{name: "most ranges", kind: typeDiscard, out: [][]byte{bytes.Repeat(rangeOf(40, 8, 0), maxRangeSegments)}, zero: [2]int{40 * 512, 48 * 512}},
		{name: "zeroes", kind: typeWriteZeroes, out: [][]byte{rangeOf(101, 3, 0)}, zero: [2]int{101 * 512, 104 * 512}},
		{name: "zeroes unmap", kind: typeWriteZeroes, out: [][]byte{rangeOf(200, 80, 1)}, zero: [2]int{200 * 512, 280 * 512}},
		{name: "zeroes unknown flag", kind: typeWriteZeroes, out: [][]byte{rangeOf(0, 8, 2)}, status: statusUnsupported},
		{name: "zeroes too much", kind: typeWriteZeroes, out: [][]byte{rangeOf(0, maxZeroesSectors+1, 0)}, status: statusIOErr},
		{name: "zeroes that overflow", kind: typeWriteZeroes, out: [][]byte{rangeOf(1<<64-4, 8, 0)}, status: statusIOErr},
		{name: "lifetime", kind: 10, in: []int{12}, status: statusUnsupported},
		{name: "secure erase", kind: 14, out: [][]byte{rangeOf(0, 8, 0)}, status: statusUnsupported},
		{name: "unknown", kind: 1 << 31, status: statusUnsupported},
	}
	content := pattern(mib)
	eachKind(t, content, func(t *testing.T, cfg Config, now func() []byte) {
		g := start(t, cfg)
		want := bytes.Clone(content)
		for _, tt := range tests {
			if s, _ := g.do(tt.kind, tt.sector, tt.out, tt.in...); s != tt.status {
				t.Errorf("%s: status %d, want %d", tt.name, s, tt.status)
			}
			clear(want[tt.zero[0]:tt.zero[1]])
			if !bytes.Equal(now(), want) {
				t.Fatalf("%s: the disk is not as it should be", tt.name)
			}
		}
		if g.log.String() != "" {
			t.Errorf("what the guest did wrong was logged as the disk's fault:\n%s", g.log)
		}
	})
}

func TestID(t *testing.T) {
	g := start(t, Config{Disk: &memDisk{data: make([]byte, 4096)}, ID: "0123456789abcdefghij"})
	if s, p := g.do(typeGetID, 0, nil, 20); s != statusOK || string(p) != "0123456789abcdefghij" {
		t.Errorf("%d %q", s, p)
	}
	if s, p := g.do(typeGetID, 0, nil, 4, 3); s != statusOK || string(p) != "0123456" {
		t.Errorf("%d %q", s, p)
	}
	if s, p := g.do(typeGetID, 0, nil, 30); s != statusOK || string(p) != "0123456789abcdefghij"+strings.Repeat("\x00", 10) {
		t.Errorf("%d %q", s, p)
	}
}

// TestNoRoomForStatus breaks the queue, as nothing can be told.
func TestNoRoomForStatus(t *testing.T) {
	g := start(t, Config{Disk: &memDisk{data: make([]byte, 4096)}})
	g.Queue(0).Submit([][]byte{header(typeFlush, 0)})
	g.Queue(0).Kick()
	g.Eventually("needs reset", func() bool { return g.Core.Status()&virtio.StatusNeedsReset != 0 })
	g.Start(virtiotest.AllFeatures)
	if p := g.read(0, 512); len(p) != 512 {
		t.Error("no answer after a reset")
	}
}

func TestShortHeader(t *testing.T) {
	g := start(t, Config{Disk: &memDisk{data: make([]byte, 4096)}})
	r, _ := g.Queue(0).Do([][]byte{header(typeIn, 0)[:15]}, 512, 1)
	if status(r) != statusIOErr {
		t.Errorf("status %d", status(r))
	}
}

func TestReadOnly(t *testing.T) {
	m := &memDisk{data: pattern(mib), readOnly: true}
	g := start(t, Config{Disk: m})
	f := g.dev.Features()
	if f>>featReadOnly&1 != 1 || f>>featDiscard&1 != 0 || f>>featWriteZeroes&1 != 0 || f>>featConfigWCE&1 != 0 {
		t.Errorf("features %#x", f)
	}
	if s, _ := g.do(typeOut, 0, [][]byte{make([]byte, 512)}); s != statusIOErr {
		t.Errorf("write: status %d", s)
	}
	for _, kind := range []uint32{typeDiscard, typeWriteZeroes} {
		if s, _ := g.do(kind, 0, [][]byte{rangeOf(0, 8, 0)}); s != statusUnsupported {
			t.Errorf("type %d: status %d", kind, s)
		}
	}
	if s, _ := g.do(typeFlush, 0, nil); s != statusOK {
		t.Errorf("flush: status %d", s)
	}
	if !bytes.Equal(m.data, pattern(mib)) || !bytes.Equal(g.read(3, 512), m.data[3*512:4*512]) {
		t.Error("the disk is not as it was")
	}
}

func TestSpace(t *testing.T) {
	g := start(t, Config{Disk: &memDisk{data: make([]byte, 3*mib)}, Queues: 3, BlockSize: 1024})
	var s [spaceSize + 12]byte
	g.Core.ReadConfig(0, s[:])
	le := binary.LittleEndian
	for _, tt := range []struct {
		name      string
		got, want uint64
	}{
		{"capacity", le.Uint64(s[0:]), 3 * mib / 512},
		{"seg_max", uint64(le.Uint32(s[12:])), 254},
		{"blk_size", uint64(le.Uint32(s[20:])), 1024},
		{"physical_block_exp", uint64(s[24]), 2},
		{"alignment_offset", uint64(s[25]), 0},
		{"min_io_size", uint64(le.Uint16(s[26:])), 4},
		{"writeback", uint64(s[32]), 1},
		{"num_queues", uint64(le.Uint16(s[34:])), 3},
		{"max_discard_sectors", uint64(le.Uint32(s[36:])), maxDiscardSectors},
		{"max_discard_seg", uint64(le.Uint32(s[40:])), maxRangeSegments},
		{"discard_sector_alignment", uint64(le.Uint32(s[44:])), 8},
		{"max_write_zeroes_sectors", uint64(le.Uint32(s[48:])), maxZeroesSectors},
		{"max_write_zeroes_seg", uint64(le.Uint32(s[52:])), maxRangeSegments},
		{"write_zeroes_may_unmap", uint64(s[56]), 1},
		{"behind the end", uint64(le.Uint32(s[60:])), 0},
	} {
		if tt.got != tt.want {
			t.Errorf("%s is %d, want %d", tt.name, tt.got, tt.want)
		}
	}
	var b [4]byte
	g.Core.ReadConfig(1<<63, b[:])
	g.Core.WriteConfig(0, []byte{1, 2, 3, 4})
	g.Core.WriteConfig(^uint64(0)-1, b[:])
	g.Core.ReadConfig(0, b[:])
	if le.Uint32(b[:]) != 3*mib/512 {
		t.Error("the capacity was written")
	}
}

// TestWriteCache counts flushes: without a cache each write is stable when it is
// answered.
func TestWriteCache(t *testing.T) {
	m := &memDisk{data: make([]byte, mib)}
	g := newGuest(t, Config{Disk: m})
	p := [][]byte{make([]byte, 512)}
	writes := func(want int) {
		t.Helper()
		before := m.flushCount()
		g.do(typeOut, 0, p)
		g.do(typeWriteZeroes, 0, [][]byte{rangeOf(8, 8, 0)})
		if n := m.flushCount() - before; n != want {
			t.Errorf("%d flushes for a write and zeroes, want %d", n, want)
		}
	}
	g.Start(virtiotest.AllFeatures)
	writes(0)
	g.Core.WriteConfig(spaceWriteback, []byte{0})
	if n := m.flushCount(); n != 1 {
		t.Errorf("%d flushes when the cache went off", n)
	}
	writes(2)
	g.Core.WriteConfig(spaceWriteback, []byte{1})
	writes(0)
	g.Core.WriteConfig(spaceWriteback, []byte{0})
	g.Start(virtiotest.AllFeatures) // a reset puts it back
	writes(0)
	g.Start(virtiotest.AllFeatures &^ (1 << featFlush) &^ (1 << featConfigWCE))
	writes(2)
	g.Start(virtiotest.AllFeatures &^ (1 << featConfigWCE))
	g.Core.WriteConfig(spaceWriteback, []byte{0})
	writes(0)
}

// TestOddSize has a disk that ends within a block.
func TestOddSize(t *testing.T) {
	content := pattern(3*512 + 100)
	eachKind(t, content, func(t *testing.T, cfg Config, now func() []byte) {
		g := start(t, cfg)
		if c := g.dev.Capacity(); c != 4*512 {
			t.Errorf("capacity %d", c)
		}
		want := append(bytes.Clone(content), make([]byte, 412)...)
		if got := g.read(0, 1000, 1048); !bytes.Equal(got, want) {
			t.Error("what lies behind the end is not zero")
		}
		if s, _ := g.do(typeIn, 4, nil, 512); s != statusIOErr {
			t.Errorf("read behind the last block: status %d", s)
		}
		if len(now()) != len(content) {
			t.Error("a read changed the size")
		}
		if s, _ := g.do(typeWriteZeroes, 0, [][]byte{rangeOf(2, 2, 0)}); s != statusOK {
			t.Errorf("zeroes over the end: status %d", s)
		}
		clear(want[2*512:])
		if got := g.read(0, 2048); !bytes.Equal(got, want) {
			t.Error("zeroes over the end")
		}
		last := bytes.Repeat([]byte{5}, 512)
		g.write(3, last)
		copy(want[3*512:], last)
		if !bytes.Equal(now(), want) || !bytes.Equal(g.read(0, 2048), want) {
			t.Error("a write to the last block")
		}
	})
}

func TestResize(t *testing.T) {
	eachKind(t, pattern(mib), func(t *testing.T, cfg Config, now func() []byte) {
		g := start(t, cfg)
		if err := g.dev.Resize(mib - 4096); err == nil {
			t.Error("it shrank")
		}
		if err := g.dev.Resize(2 * mib); err != nil {
			t.Fatal(err)
		}
		var b [8]byte
		g.Core.ReadConfig(spaceCapacity, b[:])
		if n := binary.LittleEndian.Uint64(b[:]); n != 2*mib/512 || g.ConfigInterrupts() != 1 {
			t.Errorf("capacity %d, %d interrupts", n, g.ConfigInterrupts())
		}
		p := pattern(4096)
		g.write(2*mib/512-8, p)
		if got := now(); len(got) != 2*mib || !bytes.Equal(got[2*mib-4096:], p) {
			t.Error("a write to the new end")
		}
		if f, ok := cfg.Disk.(filer); ok { // somebody else made it larger
			if err := os.Truncate(f.File().Name(), 3*mib); err != nil {
				t.Fatal(err)
			}
		} else if err := cfg.Disk.Resize(3 * mib); err != nil {
			t.Fatal(err)
		}
		if err := g.dev.Resize(0); err != nil || g.dev.Capacity() != 3*mib {
			t.Errorf("capacity %d, %v", g.dev.Capacity(), err)
		}
		g.read(3*mib/512-1, 512)
	})
}

// TestErrorsReachTheGuest uses a device file that is always full, and a disk that
// fails: each reason is logged once.
func TestErrorsReachTheGuest(t *testing.T) {
	for _, engine := range []Engine{EngineIOURing, EngineWorkers} {
		full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		g := start(t, Config{Disk: &fileDisk{memDisk{data: make([]byte, mib)}, full}, Engine: engine, ID: "full"})
		for range 3 {
			if s, _ := g.do(typeOut, 8, [][]byte{make([]byte, 4096)}); s != statusIOErr {
				t.Errorf("write to a full disk: status %d", s)
			}
			g.read(8, 4096)
		}
		g.wantLogged(1, "no space left on device")
		g.wantLogged(1, "disk=full")
		if n := g.dev.Stats().Errors; n != 3 {
			t.Errorf("%d errors counted", n)
		}
	}
	m := &memDisk{data: make([]byte, mib), fail: unix.EIO}
	g := start(t, Config{Disk: m})
	for range 2 {
		for _, kind := range []uint32{typeIn, typeFlush, typeDiscard} {
			var out [][]byte
			var in []int
			switch kind {
			case typeIn:
				in = []int{512}
			case typeDiscard:
				out = [][]byte{rangeOf(0, 8, 0)}
			}
			if s, _ := g.do(kind, 0, out, in...); s != statusIOErr {
				t.Errorf("type %d: status %d", kind, s)
			}
		}
	}
	g.wantLogged(3, "input/output error") // one for each operation
}

// TestShrunkFile answers with an error, not with somebody's zeroes.
func TestShrunkFile(t *testing.T) {
	eachKind(t, pattern(mib), func(t *testing.T, cfg Config, _ func() []byte) {
		f, ok := cfg.Disk.(filer)
		if !ok {
			return
		}
		g := start(t, cfg)
		if err := os.Truncate(f.File().Name(), 8192); err != nil {
			t.Fatal(err)
		}
		if s, _ := g.do(typeIn, 0, nil, 16384); s != statusIOErr {
			t.Errorf("status %d", s)
		}
		g.wantLogged(1, "level=WARN")
	})
}

// TestRandom keeps many requests in flight on all queues and compares with a model.
// Those in flight together do not overlap.
func TestRandom(t *testing.T) {
	const slots, slotSize = 64, 16 << 10
	content := pattern(slots * slotSize)
	eachKind(t, content, func(t *testing.T, cfg Config, now func() []byte) {
		cfg.Queues = 3
		g := start(t, cfg)
		g.Queue(1).Indirect = true
		rnd := rand.New(rand.NewPCG(1, 2))
		want := bytes.Clone(content)
		for round := range 60 {
			type pending struct {
				q       int
				r       *virtiotest.Request
				at, end int
				read    bool
			}
			var all []pending
			for slot := range slots {
				at := slot*slotSize + rnd.IntN(slotSize/512)*512
				n := (1 + rnd.IntN((slotSize-at%slotSize)/512)) * 512
				p := pending{q: rnd.IntN(3), at: at, end: at + n}
				sector := uint64(at / 512)
				cut := max(rnd.IntN(4)*rnd.IntN(340)-508, 0) // buffers of odd sizes now and then
				switch rnd.IntN(5) {
				case 0, 1:
					p.read = true
					sizes := []int{n}
					if cut > 0 {
						sizes = []int{cut, n - cut}
					}
					p.r = g.submit(p.q, typeIn, sector, nil, sizes...)
				case 2:
					clear(want[at : at+n])
					p.r = g.submit(p.q, typeWriteZeroes, 0, [][]byte{rangeOf(sector, uint32(n/512), uint32(rnd.IntN(2)))})
				default:
					data := bytes.Repeat([]byte{byte(round), byte(slot)}, n/2)
					copy(want[at:], data)
					parts := [][]byte{data}
					if cut > 0 {
						parts = [][]byte{data[:cut], data[cut:]}
					}
					p.r = g.submit(p.q, typeOut, sector, parts)
				}
				all = append(all, p)
			}
			for q := range 3 {
				g.Queue(q).Kick()
			}
			for _, p := range all {
				g.Queue(p.q).Wait(p.r)
				if s := status(p.r); s != statusOK {
					t.Fatalf("round %d: status %d\n%s", round, s, g.log)
				}
				if data := p.r.AllWritable(); p.read && !bytes.Equal(data[:len(data)-1], want[p.at:p.end]) {
					t.Fatalf("round %d: bytes %d to %d differ", round, p.at, p.end)
				}
			}
		}
		if !bytes.Equal(now(), want) {
			t.Error("the disk is not as it should be")
		}
	})
}

func TestThrottle(t *testing.T) {
	g := start(t, Config{
		Disk:    &memDisk{data: make([]byte, mib)},
		Limiter: ratelimit.New(ratelimit.Config{Ops: ratelimit.Bucket{Size: 20, Refill: 200 * time.Millisecond}}),
	})
	begin := time.Now()
	var last *virtiotest.Request
	for range 60 {
		last = g.submit(0, typeIn, 0, nil, 512)
	}
	g.Queue(0).Kick()
	g.Queue(0).Wait(last)
	// 20 at once, 40 at 100 a second.
	if d := time.Since(begin); d < 350*time.Millisecond || d > 5*time.Second {
		t.Errorf("60 requests took %s", d)
	}
	if g.dev.Stats().Throttled == 0 {
		t.Error("none was throttled")
	}
	for range 60 { // a reset ends the wait
		g.submit(0, typeIn, 0, nil, 512)
	}
	g.Queue(0).Kick()
	begin = time.Now()
	g.Reset()
	if d := time.Since(begin); d > time.Second {
		t.Errorf("the reset took %s", d)
	}
}

// TestOneInterruptForMany holds that a batch costs less than an interrupt each.
func TestOneInterruptForMany(t *testing.T) {
	eachKind(t, pattern(mib), func(t *testing.T, cfg Config, _ func() []byte) {
		g := start(t, cfg)
		var last *virtiotest.Request
		for i := range 32 {
			last = g.submit(0, typeIn, uint64(i*8), nil, 4096)
		}
		g.Queue(0).Kick()
		g.Eventually("32 reads", func() bool { return g.Queue(0).UsedIndex() == 32 })
		g.Queue(0).Wait(last)
		g.Eventually("an interrupt", func() bool { return g.Interrupts(0) > 0 })
		if n := g.Interrupts(0); n > 2 {
			t.Errorf("%d interrupts for 32 requests", n)
		}
	})
}

func TestConfigRefused(t *testing.T) {
	d := &memDisk{}
	for name, cfg := range map[string]Config{
		"no disk":          {},
		"queues":           {Disk: d, Queues: MaxQueues + 1},
		"negative":         {Disk: d, Queues: -1},
		"queue size":       {Disk: d, QueueSize: 100},
		"small queue":      {Disk: d, QueueSize: 2},
		"block size":       {Disk: d, BlockSize: 1000},
		"large block size": {Disk: d, BlockSize: 8192},
		"long id":          {Disk: d, ID: strings.Repeat("x", 21)},
		"id":               {Disk: d, ID: "a b"},
		"io_uring":         {Disk: d, Engine: EngineIOURing},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestAlignedBuffers has buffers that direct I/O takes as they are, in front of
// and behind some that it does not.
func TestAlignedBuffers(t *testing.T) {
	const at, size = 16, 12288
	content := pattern(mib)
	eachKind(t, content, func(t *testing.T, cfg Config, now func() []byte) {
		g := start(t, cfg)
		q := g.Queue(0)
		want := bytes.Clone(content)
		for i, shift := range []uint64{0, 512, 2048, 16} {
			for _, kind := range []uint32{typeIn, typeOut} {
				head, view := g.Alloc(headerSize)
				copy(view, header(kind, at))
				raw, _ := g.Alloc(size + 2*MaxBlockSize)
				gpa := (raw+MaxBlockSize-1)&^(MaxBlockSize-1) + shift
				data, err := g.Memory.Slice(gpa, size)
				if err != nil {
					t.Fatal(err)
				}
				end, answer := g.Alloc(1)
				flags := uint16(virtiotest.FlagNext)
				if kind == typeIn {
					flags |= virtiotest.FlagWrite
				} else {
					copy(data, bytes.Repeat([]byte{byte(i + 1), 7}, size/2))
					copy(want[at*512:], data)
				}
				answer[0] = 0xEE
				q.WriteDesc(200, virtiotest.Descriptor{Addr: head, Len: headerSize, Flags: virtiotest.FlagNext, Next: 201})
				q.WriteDesc(201, virtiotest.Descriptor{Addr: gpa, Len: size, Flags: flags, Next: 202})
				q.WriteDesc(202, virtiotest.Descriptor{Addr: end, Len: 1, Flags: virtiotest.FlagWrite})
				used := q.UsedIndex() + 1
				q.Publish(200)
				q.Kick()
				g.Eventually("an answer", func() bool { return q.UsedIndex() == used })
				if answer[0] != statusOK || !bytes.Equal(data, want[at*512:][:size]) {
					t.Errorf("type %d, %d bytes off: status %d\n%s", kind, shift, answer[0], g.log)
				}
			}
		}
		if !bytes.Equal(now(), want) {
			t.Error("the disk is not as it should be")
		}
	})
}

// TestLimitChanges takes a limit away while a request waits for it.
func TestLimitChanges(t *testing.T) {
	hour := ratelimit.Config{Ops: ratelimit.Bucket{Size: 1, Refill: time.Hour}}
	g := start(t, Config{Disk: &memDisk{data: make([]byte, mib)}})
	if err := g.dev.SetLimit(hour); err != nil {
		t.Fatal(err)
	}
	g.submit(0, typeIn, 0, nil, 512)
	last := g.submit(0, typeIn, 0, nil, 512)
	g.Queue(0).Kick()
	for g.dev.Stats().Throttled == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := g.dev.SetLimit(ratelimit.Config{}); err != nil {
		t.Fatal(err)
	}
	g.Queue(0).Wait(last)
	if err := g.dev.SetLimit(ratelimit.Config{Ops: ratelimit.Bucket{Burst: 1}}); err == nil {
		t.Error("a burst without a size is taken")
	}
}
