package devices

import (
	"sync"
	"testing"
	"time"
)

// fakeClock is a clock that stands still unless it is moved.
type fakeClock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *fakeClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *fakeClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func newTestRTC(t testing.TB, at time.Time) (*RTC, *fakeClock, *countIRQ) {
	c, irq := &fakeClock{t: at}, &countIRQ{}
	r := NewRTC(c.now, irq)
	t.Cleanup(r.Close)
	return r, c, irq
}

func cmosRead(r *RTC, reg uint8) uint8 {
	outb(r, rtcPortIndex, reg)
	return inb(r, rtcPortData)
}

func cmosWrite(r *RTC, reg, v uint8) {
	outb(r, rtcPortIndex, reg)
	outb(r, rtcPortData, v)
}

// rtcFields are the time registers in the order second to century.
func rtcFields(r *RTC) [8]uint8 {
	var f [8]uint8
	for i, reg := range []uint8{rtcSecond, rtcMinute, rtcHour, rtcWeekday, rtcDay, rtcMonth, rtcYear, rtcCentury} {
		f[i] = cmosRead(r, reg)
	}
	return f
}

var rtcStart = time.Date(2026, time.November, 22, 19, 5, 9, 0, time.UTC) // a Sunday

func TestRTCFormats(t *testing.T) {
	tests := []struct {
		name string
		at   time.Time
		b    uint8
		want [8]uint8
	}{
		{"BCD 24", rtcStart, rtc24, [8]uint8{0x09, 0x05, 0x19, 0x01, 0x22, 0x11, 0x26, 0x20}},
		{"binary 24", rtcStart, rtc24 | rtcBinary, [8]uint8{9, 5, 19, 1, 22, 11, 26, 20}},
		{"BCD 12 pm", rtcStart, 0, [8]uint8{0x09, 0x05, 0x87, 0x01, 0x22, 0x11, 0x26, 0x20}},
		{"binary 12 am", rtcStart.Add(-12 * time.Hour), rtcBinary, [8]uint8{9, 5, 7, 1, 22, 11, 26, 20}},
		{"midnight 12", time.Date(1999, 12, 31, 0, 59, 58, 0, time.UTC), 0, [8]uint8{0x58, 0x59, 0x12, 6, 0x31, 0x12, 0x99, 0x19}},
		{"noon 12", time.Date(2000, 1, 1, 12, 0, 0, 0, time.UTC), 0, [8]uint8{0, 0, 0x92, 7, 1, 1, 0, 0x20}},
		{"other zone", rtcStart.In(time.FixedZone("x", 3600)), rtc24, [8]uint8{0x09, 0x05, 0x19, 0x01, 0x22, 0x11, 0x26, 0x20}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, _, _ := newTestRTC(t, tt.at)
			cmosWrite(r, rtcB, tt.b)
			if got := rtcFields(r); got != tt.want {
				t.Errorf("fields %x, want %x", got, tt.want)
			}
			// Writing back what was read must not move the clock.
			cmosWrite(r, rtcB, tt.b|rtcSet)
			cmosWrite(r, rtcHour, tt.want[2])
			cmosWrite(r, rtcB, tt.b)
			if got := rtcFields(r); got != tt.want || r.offset != 0 {
				t.Errorf("after writing it back: fields %x, offset %v", got, r.offset)
			}
		})
	}
}

func TestRTCPowerOn(t *testing.T) {
	r, _, _ := newTestRTC(t, rtcStart)
	wantByte(t, "A", cmosRead(r, rtcA), 0x26)
	wantByte(t, "B", cmosRead(r, rtcB), 0x02)
	wantByte(t, "C", cmosRead(r, rtcC), 0)
	wantByte(t, "D", cmosRead(r, rtcD), 0x80)
	cmosWrite(r, rtcD, 0)
	wantByte(t, "D is read-only", cmosRead(r, rtcD), 0x80)
	wantByte(t, "the index port is write-only", inb(r, rtcPortIndex), 0xFF)
	cmosWrite(r, 0x40, 0x99)
	outb(r, rtcPortIndex, 0x40|rtcIndexNMI)
	wantByte(t, "RAM, NMI masked", inb(r, rtcPortData), 0x99)
}

// linuxSetTime is mc146818_set_time of Linux drivers/rtc/rtc-mc146818-lib.c.
func linuxSetTime(r *RTC, at time.Time) {
	bcd := func(n int) uint8 { return uint8(n/10<<4 | n%10) }
	b := cmosRead(r, rtcB)
	cmosWrite(r, rtcB, b|rtcSet)
	a := cmosRead(r, rtcA)
	cmosWrite(r, rtcA, a|0x70)
	cmosWrite(r, rtcYear, bcd(at.Year()%100))
	cmosWrite(r, rtcMonth, bcd(int(at.Month())))
	cmosWrite(r, rtcDay, bcd(at.Day()))
	cmosWrite(r, rtcHour, bcd(at.Hour()))
	cmosWrite(r, rtcMinute, bcd(at.Minute()))
	cmosWrite(r, rtcSecond, bcd(at.Second()))
	cmosWrite(r, rtcCentury, bcd(at.Year()/100))
	cmosWrite(r, rtcB, b)
	cmosWrite(r, rtcA, a)
}

func TestRTCLinuxSetTime(t *testing.T) {
	r, c, _ := newTestRTC(t, rtcStart.Add(123*time.Millisecond))
	want := time.Date(1999, time.December, 31, 23, 59, 59, 0, time.UTC)
	linuxSetTime(r, want)
	// Linux sets the clock half a second ahead (set_offset_nsec): after the divider
	// is released the first update comes after 500 ms.
	wantByte(t, "second", cmosRead(r, rtcSecond), 0x59)
	c.add(499 * time.Millisecond)
	wantByte(t, "second after 499 ms", cmosRead(r, rtcSecond), 0x59)
	c.add(2 * time.Millisecond)
	if got, want := rtcFields(r), ([8]uint8{0, 0, 0, 7, 1, 1, 0, 0x20}); got != want {
		t.Errorf("fields after the turn of the century %x, want %x", got, want)
	}
}

func TestRTCStandsStillWhileSet(t *testing.T) {
	r, c, _ := newTestRTC(t, rtcStart.Add(900*time.Millisecond))
	cmosWrite(r, rtcB, rtc24|rtcSet)
	before := rtcFields(r)
	c.add(5 * time.Second)
	if got := rtcFields(r); got != before {
		t.Errorf("the time moves: %x to %x", before, got)
	}
	wantByte(t, "no events", cmosRead(r, rtcC), 0)
	cmosWrite(r, rtcB, rtc24)
	if got := rtcFields(r); got != before {
		t.Errorf("the time jumps: %x to %x", before, got)
	}
	c.add(100 * time.Millisecond)
	wantByte(t, "the phase was kept", cmosRead(r, rtcSecond), 0x10)
}

func TestRTCWriteWhileRunning(t *testing.T) {
	r, c, _ := newTestRTC(t, rtcStart)
	cmosWrite(r, rtcHour, 0x04)
	if got := rtcFields(r); got[2] != 0x04 || got[1] != 0x05 {
		t.Errorf("fields %x", got)
	}
	c.add(time.Hour)
	wantByte(t, "hour", cmosRead(r, rtcHour), 0x05)
}

func TestRTCNonsenseTime(t *testing.T) {
	r, _, _ := newTestRTC(t, rtcStart)
	for _, b := range []uint8{0, rtc24, rtcBinary, rtc24 | rtcBinary} {
		cmosWrite(r, rtcB, b|rtcSet)
		for _, reg := range []uint8{rtcSecond, rtcMinute, rtcHour, rtcDay, rtcMonth, rtcYear, rtcCentury} {
			cmosWrite(r, reg, 0xFF)
		}
		cmosWrite(r, rtcB, b)
		_ = rtcFields(r)
	}
}

func TestRTCUpdateInProgress(t *testing.T) {
	tests := []struct {
		into time.Duration
		want uint8
	}{
		{0, 0},
		{time.Millisecond, 0},
		{999 * time.Millisecond, 0},
		{time.Second - 244*time.Microsecond, rtcUIP},
		{time.Second - 1, rtcUIP},
	}
	for _, tt := range tests {
		r, _, _ := newTestRTC(t, rtcStart.Add(tt.into))
		wantByte(t, tt.into.String(), cmosRead(r, rtcA), 0x26|tt.want)
		cmosWrite(r, rtcB, rtc24|rtcSet)
		wantByte(t, "while the time is set", cmosRead(r, rtcA), 0x26)
	}
}

func TestRTCFlags(t *testing.T) {
	r, c, irq := newTestRTC(t, rtcStart)
	cmosWrite(r, rtcA, 0x20) // no periodic tick
	cmosWrite(r, rtcSecondAlarm, 0x10)
	cmosWrite(r, rtcMinuteAlarm, rtcDontCare)
	cmosWrite(r, rtcHourAlarm, 0xFF)
	c.add(500 * time.Millisecond)
	wantByte(t, "C within the second", cmosRead(r, rtcC), 0)
	c.add(500 * time.Millisecond)
	wantByte(t, "C at the alarm", cmosRead(r, rtcC), rtcUIE|rtcAIE)
	wantByte(t, "C is cleared by reading", cmosRead(r, rtcC), 0)
	c.add(59 * time.Second)
	wantByte(t, "C a second before", cmosRead(r, rtcC), rtcUIE)
	c.add(time.Second)
	wantByte(t, "C a minute later", cmosRead(r, rtcC), rtcUIE|rtcAIE)
	c.add(-time.Hour)
	wantByte(t, "C after the host's clock was set back", cmosRead(r, rtcC), 0)
	cmosWrite(r, rtcA, 0x2F) // 2 Hz
	c.add(499 * time.Millisecond)
	wantByte(t, "C before the tick", cmosRead(r, rtcC), 0)
	c.add(time.Millisecond)
	wantByte(t, "C at the tick", cmosRead(r, rtcC), rtcPIE)
	if irq.count() != 0 {
		t.Errorf("%d interrupts, none is enabled", irq.count())
	}
	// A flag that is up raises the interrupt as it is enabled.
	c.add(time.Second)
	cmosWrite(r, rtcB, rtc24|rtcUIE)
	if irq.count() != 1 {
		t.Errorf("%d interrupts on enabling", irq.count())
	}
	wantByte(t, "C with IRQF", cmosRead(r, rtcC), rtcIRQF|rtcUIE|rtcPIE)
	cmosWrite(r, rtcB, rtc24|rtcUIE|rtcSet)
	wantByte(t, "SET clears UIE", cmosRead(r, rtcB), rtc24|rtcSet)
}

func TestRTCNextAlarm(t *testing.T) {
	tests := []struct {
		name    string
		h, m, s uint8
		want    time.Duration // 0: never
	}{
		{"always", 0xFF, 0xFF, 0xFF, time.Second},
		{"second", 0xC0, 0xC0, 0x09, time.Minute},
		{"minute", 0xC0, 0x04, 0x09, 59 * time.Minute},
		{"now, tomorrow", 0x19, 0x05, 0x09, 24 * time.Hour},
		{"a second ago, tomorrow", 0x19, 0x05, 0x08, 24*time.Hour - time.Second},
		{"any second of an hour", 0x18, 0xFF, 0xFF, 22*time.Hour + 54*time.Minute + 51*time.Second},
		{"not BCD", 0xFF, 0xFF, 0x0A, 0},
		{"no such hour", 0x24, 0xFF, 0xFF, 0},
		{"no such minute", 0xFF, 0x60, 0xFF, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, _, _ := newTestRTC(t, rtcStart)
			r.ram[rtcHourAlarm], r.ram[rtcMinuteAlarm], r.ram[rtcSecondAlarm] = tt.h, tt.m, tt.s
			at, ok := r.nextAlarm(rtcStart)
			if ok != (tt.want != 0) || ok && at.Sub(rtcStart) != tt.want {
				t.Errorf("next alarm after %v, %v; want %v", at.Sub(rtcStart), ok, tt.want)
			}
		})
	}
}

func TestRTCRates(t *testing.T) {
	r, _, _ := newTestRTC(t, rtcStart)
	for rs, want := range []int64{0, 256, 128, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4, 2} {
		r.ram[rtcA] = uint8(rs)
		if got := r.rate(); got != want {
			t.Errorf("rate %d is %d Hz, want %d", rs, got, want)
		}
		if want == 0 {
			continue
		}
		// As many ticks as Hz in each second, the last at its end.
		at, n := rtcStart, int64(0)
		for ; at.Before(rtcStart.Add(time.Second)); n++ {
			at = nextTick(at, want)
		}
		if n != want || !at.Equal(rtcStart.Add(time.Second)) {
			t.Errorf("%d Hz: %d ticks, the last after %v", want, n, at.Sub(rtcStart))
		}
	}
}

// The timer raises interrupts on its own, one until register C is read.
func TestRTCTimer(t *testing.T) {
	irq := make(chan struct{}, 10)
	r := NewRTC(time.Now, InterruptFunc(func() error { irq <- struct{}{}; return nil }))
	defer r.Close()
	cmosWrite(r, rtcA, 0x2B) // 32 Hz
	cmosWrite(r, rtcB, rtc24|rtcPIE)
	for range 3 {
		select {
		case <-irq:
		case <-time.After(10 * time.Second):
			t.Fatal("no interrupt")
		}
		if v := cmosRead(r, rtcC); v&(rtcIRQF|rtcPIE) != rtcIRQF|rtcPIE {
			t.Errorf("C = %#x", v)
		}
	}
	<-irq
	time.Sleep(100 * time.Millisecond)
	if len(irq) != 0 {
		t.Errorf("%d more interrupts while one is pending", len(irq))
	}
	r.Close()
	_ = cmosRead(r, rtcC)
	time.Sleep(50 * time.Millisecond)
	if len(irq) != 0 {
		t.Error("an interrupt after Close")
	}
}

func TestRTCSetMemory(t *testing.T) {
	tests := []struct {
		name                      string
		below, above              uint64
		base, ext, over16, over4G uint32
	}{
		{"32 MiB", 32 << 20, 0, 640, 31 << 10, 256, 0},
		{"1 MiB", 1 << 20, 0, 640, 0, 0, 0},
		{"512 KiB", 512 << 10, 0, 512, 0, 0, 0},
		{"8 GiB", 3 << 30, 5 << 30, 640, 0xFFFF, 48896, 5 << 14},
		{"1 PiB", 3 << 30, 1 << 50, 640, 0xFFFF, 48896, 0xFFFFFF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, _, _ := newTestRTC(t, rtcStart)
			r.SetMemory(tt.below, tt.above)
			get := func(at uint8, n uint8) (v uint32) {
				for i := n; i > 0; i-- {
					v = v<<8 | uint32(cmosRead(r, at+i-1))
				}
				return v
			}
			for _, c := range []struct {
				at, n uint8
				want  uint32
			}{{0x15, 2, tt.base}, {0x17, 2, tt.ext}, {0x30, 2, tt.ext}, {0x34, 2, tt.over16}, {0x5B, 3, tt.over4G}} {
				if got := get(c.at, c.n); got != c.want {
					t.Errorf("at %#x: %d, want %d", c.at, got, c.want)
				}
			}
			wantByte(t, "century is left alone", cmosRead(r, rtcCentury), 0x20)
		})
	}
}

func TestRTCNoAllocs(t *testing.T) {
	r, c, _ := newTestRTC(t, rtcStart)
	cmosWrite(r, rtcB, rtc24|rtcUIE) // makes the timer
	data := []byte{0}
	for _, reg := range []uint8{rtcSecond, rtcA, rtcC, rtcHourAlarm} {
		data[0] = reg
		r.Write(rtcPortIndex, data)
		wantNoAllocs(t, "access", func() {
			c.add(time.Second)
			r.Read(rtcPortData, data)
			r.Write(rtcPortData, data)
		})
	}
}
