package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestNewRefusesBadQueues(t *testing.T) {
	good := Config{Size: 16, Desc: testDesc, Driver: testAvail, Device: testUsed}
	tests := map[string]struct {
		spoil func(*Config)
		want  string
	}{
		"size 0":              {func(c *Config) { c.Size = 0 }, "power of two"},
		"size 3":              {func(c *Config) { c.Size = 3 }, "power of two"},
		"unaligned table":     {func(c *Config) { c.Desc += 8 }, "aligned to 16"},
		"unaligned avail":     {func(c *Config) { c.Driver++ }, "aligned to 2"},
		"unaligned used":      {func(c *Config) { c.Device += 2 }, "aligned to 4"},
		"table beyond RAM":    {func(c *Config) { c.Desc = testMemory }, "not in RAM"},
		"used across the end": {func(c *Config) { c.Device = testMemory - 8 }, "not in RAM"},
		"wrap":                {func(c *Config) { c.Desc = ^uint64(15) }, "not in RAM"},
		"used in table":       {func(c *Config) { c.Device = testDesc + 32 }, "overlaps"},
		"event in used":       {func(c *Config) { c.Driver = c.Device - availHead - 2*16 }, "overlaps"},
	}
	if _, err := New(make(heap, testMemory), good); err != nil {
		t.Fatal(err)
	}
	for name, test := range tests {
		cfg := good
		test.spoil(&cfg)
		_, err := New(make(heap, testMemory), cfg)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an *Error with %q", name, err, test.want)
		}
	}
}

// TestBrokenRules has a way to break each rule that the driver must keep.
func TestBrokenRules(t *testing.T) {
	const size = 8
	buffer := descriptor{addr: testBuffers, size: 16}
	writable := descriptor{addr: testBuffers, size: 16, flags: flagWrite}
	table := func(d *driver, parts ...descriptor) descriptor {
		at := d.mem[testBuffers+0x1000:]
		for i, p := range parts {
			putDesc(at, uint16(i), p)
		}
		return descriptor{addr: testBuffers + 0x1000, size: uint32(len(parts) * descSize), flags: flagIndirect}
	}
	tests := map[string]struct {
		do   func(d *driver)
		want string
	}{
		"available index too far": {func(d *driver) { store16(d.avail[2:], size+1) }, "9 ahead"},
		"available index back":    {func(d *driver) { store16(d.avail[2:], 0xFFFF) }, "65535 ahead"},
		"head beyond the table":   {func(d *driver) { d.publish(size) }, "descriptor 8 of a table of 8"},
		"next beyond the table": {func(d *driver) {
			d.chain(0, descriptor{addr: testBuffers, size: 1, flags: flagNext, next: 500})
			d.publish(0)
		}, "descriptor 500"},
		"loop of one": {func(d *driver) {
			d.chain(0, descriptor{addr: testBuffers, size: 1, flags: flagNext, next: 0})
			d.publish(0)
		}, "or a loop"},
		"loop of empty ones": {func(d *driver) {
			d.chain(0, descriptor{flags: flagNext, next: 1}, descriptor{flags: flagNext, next: 0})
			putDesc(d.desc, 1, descriptor{flags: flagNext, next: 0})
			d.publish(0)
		}, "or a loop"},
		"buffer beyond RAM":   {func(d *driver) { d.chain(0, descriptor{addr: testMemory, size: 1}); d.publish(0) }, "not in RAM"},
		"buffer across end":   {func(d *driver) { d.chain(0, descriptor{addr: testMemory - 1, size: 2}); d.publish(0) }, "not in RAM"},
		"buffer wraps around": {func(d *driver) { d.chain(0, descriptor{addr: ^uint64(0), size: 2}); d.publish(0) }, "not in RAM"},
		"readable after writable": {func(d *driver) {
			d.chain(0, writable, buffer)
			d.publish(0)
		}, "readable descriptor behind a writable"},
		"readable after empty writable": {func(d *driver) {
			d.chain(0, descriptor{flags: flagWrite}, buffer)
			d.publish(0)
		}, "readable descriptor behind a writable"},
		"overlapping buffers": {func(d *driver) {
			big := descriptor{addr: 0, size: testMemory/2 + 1}
			d.chain(0, big, big)
			d.publish(0)
		}, "overlap"},
		"indirect, not negotiated": {func(d *driver) { d.chain(0, table(d, buffer)); d.publish(0) }, "without VIRTIO_F_INDIRECT_DESC"},
		"same chain for ever": {func(d *driver) {
			d.chain(0, buffer)
			for range size {
				d.publish(0)
			}
			d.publishLater = true
		}, "while it is under way"},
	}
	indirect := map[string]struct {
		do   func(d *driver)
		want string
	}{
		"nested": {func(d *driver) {
			inner := descriptor{addr: testBuffers + 0x2000, size: descSize, flags: flagIndirect}
			d.chain(0, table(d, inner))
			d.publish(0)
		}, "in an indirect table"},
		"nested, second": {func(d *driver) {
			first := descriptor{addr: testBuffers, size: 1, flags: flagNext, next: 1}
			inner := descriptor{addr: testBuffers + 0x2000, size: descSize, flags: flagIndirect}
			d.chain(0, table(d, first, inner))
			d.publish(0)
		}, "in an indirect table"},
		"with a next one": {func(d *driver) {
			ind := table(d, buffer)
			ind.flags |= flagNext
			ind.next = 1
			d.chain(0, ind)
			d.publish(0)
		}, "with a next one"},
		"empty table":   {func(d *driver) { ind := table(d, buffer); ind.size = 0; d.chain(0, ind); d.publish(0) }, "table of 0 bytes"},
		"odd table":     {func(d *driver) { ind := table(d, buffer); ind.size = 17; d.chain(0, ind); d.publish(0) }, "table of 17 bytes"},
		"table not RAM": {func(d *driver) { ind := table(d, buffer); ind.addr = testMemory; d.chain(0, ind); d.publish(0) }, "not in RAM"},
		"index beyond the table": {func(d *driver) {
			d.chain(0, table(d, descriptor{addr: testBuffers, size: 1, flags: flagNext, next: 1}))
			d.publish(0)
		}, "descriptor 1 of a table of 1"},
		"longer than the queue": {func(d *driver) {
			parts := make([]descriptor, size+1)
			for i := range parts {
				parts[i] = descriptor{addr: testBuffers, size: 1, flags: flagNext, next: uint16(i + 1)}
			}
			parts[size].flags = 0
			d.chain(0, table(d, parts...))
			d.publish(0)
		}, "more than 8 descriptors"},
	}
	run := func(name string, indirect bool, do func(*driver), want string) {
		t.Run(name, func(t *testing.T) {
			d, q := newDriver(t, Config{Size: size, Indirect: indirect})
			do(d)
			var c Chain
			var err error
			for ok := true; ok && err == nil; {
				ok, err = q.Next(&c)
				if d.publishLater && load16(d.avail[2:]) == size {
					d.publish(0)
				}
			}
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
				t.Fatalf("%v, want an *Error with %q", err, want)
			}
			d.chain(0, buffer)
			d.publish(0)
			if ok, again := q.Next(&c); ok || !errors.Is(again, err) {
				t.Errorf("a broken queue gave %v, %v", ok, again)
			}
			if len(d.broken) != 1 || q.Counters().Errors != 1 {
				t.Errorf("reported %d times, counted %d, want once", len(d.broken), q.Counters().Errors)
			}
		})
	}
	for name, test := range tests {
		run(name, false, test.do, test.want)
	}
	for name, test := range indirect {
		run("indirect "+name, true, test.do, test.want)
	}
}

// TestChains reads chains that are unusual but legal.
func TestChains(t *testing.T) {
	const size = 8
	d, q := newDriver(t, Config{Size: size, Indirect: true})
	copy(d.mem[testBuffers:], "abcdefghij")
	table := testBuffers + 0x1000
	for i := range uint16(size) {
		putDesc(d.mem[table:], i, descriptor{addr: testBuffers + uint64(i), size: 1, flags: flagNext, next: i + 1})
	}
	putDesc(d.mem[table:], size-1, descriptor{addr: testBuffers + 0x100, size: 4, flags: flagWrite})
	tests := []struct {
		name           string
		parts          []descriptor
		readable       string
		writable, many int
	}{
		{"one", []descriptor{{addr: testBuffers, size: 3}}, "abc", 0, 1},
		{"empty ones left out", []descriptor{{addr: testBuffers}, {addr: testBuffers, size: 2}, {size: 0, flags: flagWrite}}, "ab", 0, 1},
		{"nothing at all", []descriptor{{}}, "", 0, 0},
		{"both ways", []descriptor{{addr: testBuffers, size: 1}, {addr: testBuffers + 1, size: 2}, {addr: testBuffers + 64, size: 7, flags: flagWrite}}, "abc", 7, 3},
		{"indirect as long as the queue", []descriptor{{addr: uint64(table), size: size * descSize, flags: flagIndirect}}, "abcdefg", 4, size},
		{"indirect after direct ones", []descriptor{{addr: testBuffers + 9, size: 1}, {addr: uint64(table) + 6*descSize, size: 2 * descSize, flags: flagIndirect | flagWrite}}, "jg", 0, 0},
	}
	for _, test := range tests[:5] {
		d.chain(0, test.parts...)
		d.publish(0)
		var c Chain
		if ok, err := q.Next(&c); !ok || err != nil {
			t.Fatalf("%s: %v, %v", test.name, ok, err)
		}
		b := make([]byte, 100)
		if got := string(b[:c.Read(b)]); got != test.readable || c.ReadLen != uint64(len(got)) {
			t.Errorf("%s: read %q (ReadLen %d), want %q", test.name, got, c.ReadLen, test.readable)
		}
		if int(c.WriteLen) != test.writable || len(c.Readable)+len(c.Writable) != test.many {
			t.Errorf("%s: %d bytes to write, %d parts, want %d, %d", test.name, c.WriteLen, len(c.Readable)+len(c.Writable), test.writable, test.many)
		}
		q.Put(c.Head, 0)
	}
	// The table's last two entries refer to entry 7 by number: out of their range.
	putDesc(d.mem[table:], 6, descriptor{addr: testBuffers + 6, size: 1, flags: flagNext, next: 1})
	d.chain(0, tests[5].parts...)
	d.publish(0)
	var c Chain
	if ok, err := q.Next(&c); !ok || err != nil {
		t.Fatalf("%s: %v", tests[5].name, err)
	}
	b := make([]byte, 10)
	if got := string(b[:c.Read(b)]); got != "jg" || c.WriteLen != 4 {
		t.Errorf("%s: read %q, %d to write, want \"jg\", 4", tests[5].name, got, c.WriteLen)
	}
}

func TestReadAtAndWriteAtCrossParts(t *testing.T) {
	c := Chain{
		Readable: [][]byte{[]byte("abc"), []byte("defgh"), []byte("i")},
		Writable: [][]byte{make([]byte, 2), make([]byte, 3)},
	}
	for off := range 11 {
		for n := range 11 {
			p := make([]byte, n)
			got := string(p[:c.ReadAt(p, uint64(off))])
			if want := "abcdefghi"[min(off, 9):min(off+n, 9)]; got != want {
				t.Fatalf("ReadAt %d at %d: %q, want %q", n, off, got, want)
			}
		}
	}
	if n := c.WriteAt([]byte("wxyz"), 1); n != 4 || !bytes.Equal(c.Writable[0], []byte{0, 'w'}) || string(c.Writable[1]) != "xyz" {
		t.Errorf("WriteAt: %d, %q %q", n, c.Writable[0], c.Writable[1])
	}
	if n := c.WriteAt([]byte("ab"), 4); n != 1 {
		t.Errorf("WriteAt past the end wrote %d bytes, want 1", n)
	}
}

// TestInterruptsAreRaisedAsAskedFor holds sections 2.7.7 and 2.7.10.
func TestInterruptsAreRaisedAsAskedFor(t *testing.T) {
	for _, eventIdx := range []bool{false, true} {
		d, q := newDriver(t, Config{Size: 8, EventIdx: eventIdx})
		d.chain(0, descriptor{addr: testBuffers, size: 1})
		give := func(n int) (interrupted bool) {
			var c Chain
			for range n {
				d.publish(0)
				if ok, err := q.Next(&c); !ok {
					t.Fatal(err)
				}
				q.Put(0, 0)
			}
			q.Flush()
			select {
			case <-d.interrupts:
				return true
			default:
				return false
			}
		}
		ask := func(event uint16, flags uint16) {
			store16(d.avail[0:], flags)
			store16(d.avail[availHead+2*8:], event)
		}
		ask(0, 0)
		if !give(1) {
			t.Errorf("event index %v: no interrupt for the first chain", eventIdx)
		}
		ask(0, noInterrupt)
		if give(3) {
			t.Errorf("event index %v: an interrupt that nobody wanted", eventIdx)
		}
		ask(5, 0) // used index is 4: two chains more reach it
		if got := give(1); got != !eventIdx {
			t.Errorf("event index %v: interrupt %v one short of the event", eventIdx, got)
		}
		if !give(2) {
			t.Errorf("event index %v: no interrupt when the event was passed", eventIdx)
		}
		q.Flush()
		if c := q.Counters(); c.Interrupts+c.Suppressed != 4 {
			t.Errorf("event index %v: %+v, want 4 flushes that had something", eventIdx, c)
		}
	}
}

// TestIndexWrapsAround takes more chains than a 16-bit index counts.
func TestIndexWrapsAround(t *testing.T) {
	d, q := newDriver(t, Config{Size: 4, EventIdx: true})
	d.chain(2, descriptor{addr: testBuffers, size: 255, flags: flagWrite})
	var c Chain
	for i := range 1<<16 + 10 {
		d.publish(2)
		if ok, err := q.Next(&c); !ok || c.Head != 2 {
			t.Fatalf("chain %d: %v %v", i, ok, err)
		}
		q.Put(2, uint32(i%256))
		q.Flush()
		if u, ok := d.used(); !ok || u != (Used{2, uint32(i % 256)}) {
			t.Fatalf("chain %d came back as %+v, %v", i, u, ok)
		}
	}
}

func TestUngetGivesTheChainAgain(t *testing.T) {
	d, q := newDriver(t, Config{Size: 4})
	d.chain(1, descriptor{addr: testBuffers, size: 1})
	d.publish(1)
	var c Chain
	for range 10 {
		if ok, err := q.Next(&c); !ok || c.Head != 1 {
			t.Fatal(ok, err)
		}
		q.Unget()
	}
}

func TestStopEndsWaitAndNext(t *testing.T) {
	d, q := newDriver(t, Config{Size: 4})
	ended := make(chan error)
	go func() { ended <- q.Wait() }()
	time.Sleep(10 * time.Millisecond)
	q.Stop()
	if err := <-ended; !errors.Is(err, ErrStopped) {
		t.Errorf("Wait: %v, want ErrStopped", err)
	}
	d.chain(0, descriptor{addr: testBuffers, size: 1})
	d.publish(0)
	if ok, err := q.Next(new(Chain)); ok || !errors.Is(err, ErrStopped) {
		t.Errorf("Next: %v, %v, want ErrStopped", ok, err)
	}
	if err := q.Wait(); !errors.Is(err, ErrStopped) {
		t.Errorf("second Wait: %v, want ErrStopped", err)
	}
}

// TestBothSidesAtOnce has driver and device work side by side, each asleep until
// the other one notifies it: a lost notification hangs the test, and a missing
// barrier shows as a race or as a wrong word.
func TestBothSidesAtOnce(t *testing.T) {
	for _, eventIdx := range []bool{false, true} {
		for _, indirect := range []bool{false, true} {
			for _, batch := range []int{1, 7, 64} {
				t.Run(fmt.Sprintf("eventIdx=%v,indirect=%v,batch=%d", eventIdx, indirect, batch), func(t *testing.T) {
					bothSides(t, Config{Size: 64, EventIdx: eventIdx, Indirect: indirect}, batch)
				})
			}
		}
	}
}

func bothSides(t *testing.T, cfg Config, batch int) {
	const total = 5000
	d, q := newDriver(t, cfg)
	done := make(chan struct{})
	go func() {
		defer close(done)
		q.Serve(double)
	}()
	// Chain h reads 8 bytes and writes 8 bytes of its own buffer.
	for h := range cfg.Size {
		at := uint64(testBuffers) + 64*uint64(h)
		parts := []descriptor{{addr: at, size: 8, flags: flagNext, next: 1}, {addr: at + 8, size: 8, flags: flagWrite}}
		table := testBuffers + 0x8000 + 32*uint64(h)
		putDesc(d.mem[table:], 0, parts[0])
		putDesc(d.mem[table:], 1, parts[1])
		if cfg.Indirect {
			putDesc(d.desc, h, descriptor{addr: table, size: 2 * descSize, flags: flagIndirect})
		} else if h%2 == 0 {
			parts[0].next = h + 1
			putDesc(d.desc, h, parts[0])
			putDesc(d.desc, h+1, parts[1])
		}
	}
	step := uint16(2)
	if cfg.Indirect {
		step = 1
	}
	var free []uint16
	for h := uint16(0); h < cfg.Size; h += step {
		free = append(free, h)
	}
	values := map[uint16]uint64{}
	sent, back := 0, 0
	for back < total {
		for range batch {
			if sent == total || len(free) == 0 {
				break
			}
			h := free[0]
			free = free[1:]
			values[h] = uint64(sent) * 1_000_003
			binary.LittleEndian.PutUint64(d.mem[testBuffers+64*int(h):], values[h])
			d.publish(h)
			sent++
		}
		for {
			u, ok := d.used()
			if ok {
				got := binary.LittleEndian.Uint64(d.mem[testBuffers+64*int(u.Head)+8:])
				if u.Written != 8 || got != 2*values[u.Head] {
					t.Fatalf("chain %d: %d bytes, %d, want 8, %d", u.Head, u.Written, got, 2*values[u.Head])
				}
				free = append(free, u.Head)
				back++
				continue
			}
			if len(free) > 0 && sent < total || back == total {
				break
			}
			if d.arm() {
				continue
			}
			select {
			case <-d.interrupts:
			case <-time.After(30 * time.Second):
				t.Fatalf("no interrupt; %d of %d chains came back", back, sent)
			}
		}
	}
	q.Stop()
	<-done
	if c := q.Counters(); c.Chains != total || c.Errors != 0 {
		t.Errorf("%+v, want %d chains and no errors", c, total)
	}
}

// double answers a number with its double.
func double(c *Chain) (uint32, error) {
	var b [8]byte
	if c.Read(b[:]) != 8 {
		return 0, errors.New("short request")
	}
	binary.LittleEndian.PutUint64(b[:], 2*binary.LittleEndian.Uint64(b[:]))
	return uint32(c.WriteAt(b[:], 0)), nil
}

func TestSteadyPathDoesNotAllocate(t *testing.T) {
	for _, indirect := range []bool{false, true} {
		d, q := newDriver(t, Config{Size: 16, EventIdx: true, Indirect: indirect})
		d.chain(0, descriptor{addr: testBuffers, size: 8}, descriptor{addr: testBuffers + 8, size: 8, flags: flagWrite})
		if indirect {
			copy(d.mem[testBuffers+0x1000:], d.desc[:2*descSize])
			putDesc(d.desc, 0, descriptor{addr: testBuffers + 0x1000, size: 2 * descSize, flags: flagIndirect})
		}
		var c Chain
		round := func() {
			d.publish(0)
			if err := q.Drain(&c, double); err != nil {
				t.Fatal(err)
			}
		}
		round()
		if n := testing.AllocsPerRun(100, round); n != 0 {
			t.Errorf("indirect %v: %v allocations a request", indirect, n)
		}
	}
}
