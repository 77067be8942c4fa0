package devices

import "time"

// The three events of the clock. Their flags go into register C whether or not
// their interrupts are enabled.

// advance records what happened since it was last called, and reports whether the
// interrupt line rose.
func (r *RTC) advance() bool {
	now := r.now()
	last := r.seen
	r.seen = now
	// A clock that stands still or was set back has no events.
	if r.stopped() || !now.After(last) {
		return false
	}
	if now.Unix() != last.Unix() {
		r.ram[rtcC] |= rtcUIE
		if at, ok := r.nextAlarm(last); ok && !at.After(now) {
			r.ram[rtcC] |= rtcAIE
		}
	}
	if hz := r.rate(); hz > 0 && !nextTick(last, hz).After(now) {
		r.ram[rtcC] |= rtcPIE
	}
	return r.line.set(r.sum())
}

// sum is the interrupt request: any event whose interrupt is enabled. It sets IRQF
// to match.
func (r *RTC) sum() bool {
	r.ram[rtcC] &^= rtcIRQF
	if r.ram[rtcC]&r.ram[rtcB]&rtcIRQMask == 0 {
		return false
	}
	r.ram[rtcC] |= rtcIRQF
	return true
}

// readC takes the flags; the interrupt line falls, and the timer may run again.
func (r *RTC) readC() uint8 {
	r.advance()
	v := r.ram[rtcC]
	r.ram[rtcC] = 0
	r.line.set(false)
	r.arm()
	return v
}

// rate is the periodic interrupt's, in Hz, or 0 if it is off ("Periodic interrupt
// selection": at 32 kHz the first two rates repeat two slower ones).
func (r *RTC) rate() int64 {
	n := r.ram[rtcA] & rtcRateMask
	switch n {
	case 0:
		return 0
	case 1, 2:
		n += 7
	}
	return rtcClock >> (n - 1)
}

// nextTick is the first tick after t; ticks divide each second evenly.
func nextTick(t time.Time, rate int64) time.Time {
	in := int64(t.Nanosecond())
	k := in*rate/int64(time.Second) + 1
	next := (k*int64(time.Second) + rate - 1) / rate
	return t.Add(time.Duration(next - in))
}

// nextAlarm is the first second after t that the alarm registers match.
func (r *RTC) nextAlarm(t time.Time) (time.Time, bool) {
	t = t.Truncate(time.Second).Add(time.Second)
	// At worst: a day's hours, then an hour's minutes, then a minute's seconds.
	for range 24 + 60 + 60 + 3 {
		switch {
		case !r.alarmMatches(rtcHourAlarm, r.encodeHour(t.Hour())):
			t = t.Truncate(time.Hour).Add(time.Hour)
		case !r.alarmMatches(rtcMinuteAlarm, r.format(t.Minute())):
			t = t.Truncate(time.Minute).Add(time.Minute)
		case !r.alarmMatches(rtcSecondAlarm, r.format(t.Second())):
			t = t.Add(time.Second)
		default:
			return t, true
		}
	}
	return t, false
}

func (r *RTC) alarmMatches(reg, v uint8) bool {
	return r.ram[reg]&rtcDontCare == rtcDontCare || r.ram[reg] == v
}

// arm sets the timer to the next enabled event. While the interrupt is pending
// there is nothing to wait for: the next edge can only come after register C is
// read. That also bounds what a guest can make us do.
func (r *RTC) arm() {
	due, ok := r.nextEvent()
	switch {
	case !ok && r.timer == nil:
		return
	case !ok:
		r.timer.Stop()
		return
	}
	wait := due.Sub(r.seen)
	if r.timer == nil {
		r.timer = time.AfterFunc(wait, r.expire)
		return
	}
	r.timer.Reset(wait)
}

// nextEvent is the next event after seen that would raise the interrupt.
func (r *RTC) nextEvent() (time.Time, bool) {
	enabled := r.ram[rtcB] & rtcIRQMask
	if r.closed || r.line.irq == nil || r.line.high || enabled == 0 || r.stopped() {
		return time.Time{}, false
	}
	var due time.Time
	found := false
	consider := func(t time.Time) {
		if !found || t.Before(due) {
			due, found = t, true
		}
	}
	if hz := r.rate(); enabled&rtcPIE != 0 && hz > 0 {
		consider(nextTick(r.seen, hz))
	}
	if enabled&rtcUIE != 0 {
		consider(r.seen.Truncate(time.Second).Add(time.Second))
	}
	if enabled&rtcAIE != 0 {
		if t, ok := r.nextAlarm(r.seen); ok {
			consider(t)
		}
	}
	return due, found
}

// expire is the timer's function.
func (r *RTC) expire() {
	r.mu.Lock()
	rise := !r.closed && r.advance()
	r.arm()
	r.mu.Unlock()
	if rise {
		r.line.fire()
	}
}
