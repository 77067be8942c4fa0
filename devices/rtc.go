package devices

import (
	"sync"
	"time"
)

// RTC is the MC146818 clock with its CMOS RAM. It shows the time of the clock that
// it is given, plus an offset that the guest moves by setting the time; the host's
// clock is never touched.
//
// The alarm, the periodic and the update interrupt work. What happened since the
// guest last looked is worked out when it looks; a timer runs only while an
// interrupt is enabled and none is pending, so an RTC that nobody uses costs
// nothing. See rtc_alarm.go.
type RTC struct {
	clock func() time.Time

	mu     sync.Mutex
	line   edgeLine
	index  uint8 // with the NMI bit
	ram    [rtcIndexMask + 1]uint8
	offset time.Duration
	seen   time.Time // events up to here are in register C
	timer  *time.Timer
	closed bool
}

// NewRTC makes a clock that shows clock(), in UTC as Linux wants it. A nil clock is
// time.Now. The interrupt is GSI 8 and may be nil. Close it when the machine ends.
func NewRTC(clock func() time.Time, irq Interrupt) *RTC {
	if clock == nil {
		clock = time.Now
	}
	r := &RTC{clock: clock, line: edgeLine{irq: irq}}
	r.ram[rtcA] = rtcAPowerOn
	r.ram[rtcB] = rtc24
	r.ram[rtcD] = rtcValid
	r.seen = r.now()
	return r
}

// Name is the device's name in messages.
func (r *RTC) Name() string { return "rtc" }

// SetMemory writes the size of RAM into the bytes where firmware puts it: below4G
// bytes from address 0, above4G bytes from 4 GiB. Call it before the guest runs.
func (r *RTC) SetMemory(below4G, above4G uint64) {
	const kib, mib, unit = 1 << 10, 1 << 20, 64 << 10
	r.mu.Lock()
	defer r.mu.Unlock()
	put := func(at int, v, limit uint64) {
		for v = min(v, limit); limit > 0; limit >>= 8 {
			r.ram[at] = uint8(v)
			v >>= 8
			at++
		}
	}
	above := func(n, floor uint64) uint64 { return max(n, floor) - floor }
	put(rtcBaseMemory, min(below4G, 640*kib)/kib, 0xFFFF)
	put(rtcExtMemory, above(below4G, mib)/kib, 0xFFFF)
	put(rtcExtMemoryAlias, above(below4G, mib)/kib, 0xFFFF)
	put(rtcMemoryAbove16M, above(below4G, 16*mib)/unit, 0xFFFF)
	put(rtcMemoryAbove4G, above4G/unit, 0xFFFFFF)
}

// Close stops the timer. The registers go on working, without interrupts.
func (r *RTC) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.timer != nil {
		r.timer.Stop()
	}
}

// Read reads the index port, which is write-only and so all ones, or data.
func (r *RTC) Read(offset uint64, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range data {
		data[i] = allOnes
		if offset+uint64(i) == rtcPortData {
			data[i] = r.readReg(r.index & rtcIndexMask)
		}
	}
}

// Write sets the index or writes data.
func (r *RTC) Write(offset uint64, data []byte) {
	r.mu.Lock()
	rise := false
	for i, v := range data {
		switch offset + uint64(i) {
		case rtcPortIndex:
			r.index = v
		case rtcPortData:
			rise = r.writeReg(r.index&rtcIndexMask, v) || rise
		}
	}
	r.mu.Unlock()
	if rise {
		r.line.fire()
	}
}

func (r *RTC) readReg(reg uint8) uint8 {
	switch reg {
	case rtcA:
		return r.ram[rtcA] | r.updating()
	case rtcC:
		return r.readC()
	}
	if isTime(reg) && !r.stopped() {
		return r.encode(r.now(), reg)
	}
	return r.ram[reg]
}

// writeReg reports whether the interrupt line rose.
func (r *RTC) writeReg(reg, v uint8) bool {
	switch reg {
	case rtcA:
		return r.control(v&rtcAWritable, r.ram[rtcB])
	case rtcB:
		if v&rtcSet != 0 {
			v &^= rtcUIE // the data sheet says so
		}
		return r.control(r.ram[rtcA], v)
	case rtcC, rtcD:
		return false
	case rtcSecondAlarm, rtcMinuteAlarm, rtcHourAlarm:
		rise := r.advance()
		r.ram[reg] = v
		r.arm()
		return rise
	}
	if !isTime(reg) || r.stopped() {
		r.ram[reg] = v
		return false
	}
	// A time register that is written while the clock runs.
	now := r.now()
	rise := r.advance()
	r.latch(now)
	r.ram[reg] = v
	r.start(now.Nanosecond())
	return rise
}

// control writes registers A and B, which together stop and start the clock.
func (r *RTC) control(a, b uint8) bool {
	rise := r.advance()
	now, was, held := r.now(), r.stopped(), r.divHeld()
	r.ram[rtcA], r.ram[rtcB] = a, b
	switch is := r.stopped(); {
	case is && !was:
		r.latch(now)
	case was && !is && held:
		r.start(int(time.Second - rtcDivStart))
	case was && !is:
		r.start(now.Nanosecond())
	}
	rise = r.line.set(r.sum()) || rise
	r.arm()
	return rise
}

// now is the guest's time.
func (r *RTC) now() time.Time { return r.clock().Add(r.offset).UTC().Round(0) }

func (r *RTC) divHeld() bool { return r.ram[rtcA]&rtcDivReset == rtcDivReset }

// stopped reports whether the time stands still, in RAM, to be set.
func (r *RTC) stopped() bool { return r.ram[rtcB]&rtcSet != 0 || r.divHeld() }

// updating is UIP. It rises 244 µs before the time changes, which a reader needs to
// be sure of a whole time; the change itself takes us none.
func (r *RTC) updating() uint8 {
	if r.stopped() || r.now().Nanosecond() < int(time.Second-rtcUIPWindow) {
		return 0
	}
	return rtcUIP
}

// isTime reports whether a register shows the time.
func isTime(reg uint8) bool {
	switch reg {
	case rtcSecond, rtcMinute, rtcHour, rtcWeekday, rtcDay, rtcMonth, rtcYear, rtcCentury:
		return true
	}
	return false
}

// latch puts the time into RAM.
func (r *RTC) latch(t time.Time) {
	for _, reg := range [...]uint8{rtcSecond, rtcMinute, rtcHour, rtcWeekday, rtcDay, rtcMonth, rtcYear, rtcCentury} {
		r.ram[reg] = r.encode(t, reg)
	}
}

// start lets the time run from what is in RAM. Values out of range carry over into
// the next higher field; the day of the week follows from the date.
func (r *RTC) start(nsec int) {
	year := r.decode(rtcCentury)*100 + r.decode(rtcYear)
	t := time.Date(year, time.Month(r.decode(rtcMonth)), r.decode(rtcDay),
		r.decodeHour(), r.decode(rtcMinute), r.decode(rtcSecond), nsec, time.UTC)
	r.offset = t.Sub(r.clock().Round(0))
	r.seen = r.now()
	r.arm()
}

// encode is the value of a time register at t.
func (r *RTC) encode(t time.Time, reg uint8) uint8 {
	switch reg {
	case rtcSecond:
		return r.format(t.Second())
	case rtcMinute:
		return r.format(t.Minute())
	case rtcHour:
		return r.encodeHour(t.Hour())
	case rtcWeekday:
		return r.format(int(t.Weekday()) + 1)
	case rtcDay:
		return r.format(t.Day())
	case rtcMonth:
		return r.format(int(t.Month()))
	case rtcYear:
		return r.format(mod100(t.Year()))
	}
	return r.format(mod100(t.Year() / 100))
}

// mod100 is the last two digits of n, which may be negative.
func mod100(n int) int { return (n%100 + 100) % 100 }

func (r *RTC) encodeHour(h int) uint8 {
	if r.ram[rtcB]&rtc24 != 0 {
		return r.format(h)
	}
	v := r.format((h+11)%12 + 1)
	if h >= 12 {
		v |= rtcPM
	}
	return v
}

func (r *RTC) decodeHour() int {
	if r.ram[rtcB]&rtc24 != 0 {
		return r.decode(rtcHour)
	}
	v := r.ram[rtcHour]
	h := r.parse(v&^rtcPM) % 12
	if v&rtcPM != 0 {
		h += 12
	}
	return h
}

func (r *RTC) decode(reg uint8) int { return r.parse(r.ram[reg]) }

// format and parse convert between a number below 100 and BCD, or binary if the
// guest wants that.
func (r *RTC) format(n int) uint8 {
	if r.ram[rtcB]&rtcBinary != 0 {
		return uint8(n)
	}
	return uint8(n/10<<4 | n%10)
}

func (r *RTC) parse(v uint8) int {
	if r.ram[rtcB]&rtcBinary != 0 {
		return int(v)
	}
	return int(v>>4)*10 + int(v&0x0F)
}
