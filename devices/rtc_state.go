package devices

import (
	"fmt"
	"time"
)

// RTCState is the state of an RTC. The time itself is not in it: after a restore
// the clock shows the time of its host, moved by Offset.
type RTCState struct {
	Index  uint8 // with the NMI bit
	RAM    [128]uint8
	Offset time.Duration // guest's time less the host's
}

// Save returns the state.
func (r *RTC) Save() RTCState {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance()
	return RTCState{Index: r.index, RAM: r.ram, Offset: r.offset}
}

// Restore sets the state, and raises the interrupt if one is pending.
func (r *RTC) Restore(st RTCState) error {
	switch {
	case st.RAM[rtcA]&^rtcAWritable != 0:
		return fmt.Errorf("restore rtc: register A is %#x: %w", st.RAM[rtcA], ErrBadState)
	case st.RAM[rtcC]&^(rtcIRQF|rtcIRQMask) != 0:
		return fmt.Errorf("restore rtc: register C is %#x: %w", st.RAM[rtcC], ErrBadState)
	case st.RAM[rtcD] != rtcValid:
		return fmt.Errorf("restore rtc: register D is %#x: %w", st.RAM[rtcD], ErrBadState)
	}
	r.mu.Lock()
	r.index, r.ram, r.offset = st.Index, st.RAM, st.Offset
	r.seen = r.now()
	r.line.set(false)
	rise := r.line.set(r.sum())
	r.arm()
	r.mu.Unlock()
	if rise {
		r.line.fire()
	}
	return nil
}
