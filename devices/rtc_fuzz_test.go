package devices

import (
	"testing"
	"time"
)

// FuzzRTC reads and writes CMOS at random while time passes.
func FuzzRTC(f *testing.F) {
	f.Add([]byte{0x0B, 0x82, 0x09, 0x99, 0x0B, 0x02, 0xFF, 0x20, 0x8C, 0})
	f.Add([]byte{0x0B, 0x72, 0x01, 0xC0, 0x03, 0xC0, 0x05, 0xC0, 0xFE, 0x01, 0x8C, 0})
	f.Add([]byte{0x0A, 0x76, 0x0B, 0x82, 0x32, 0xFF, 0x0A, 0x26, 0x0B, 0x00, 0x80, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		// No interrupt, so no timer: the fuzzer must not depend on real time.
		c := &fakeClock{t: rtcStart}
		r := NewRTC(c.now, nil)
		defer r.Close()
		ops(data, func(op, arg uint8) {
			reg := op & rtcIndexMask
			switch {
			case op >= 0xFE:
				c.add(time.Duration(int8(arg)) * 100 * time.Millisecond)
			case op == 0xFD:
				c.add(time.Duration(int8(arg)) * 50 * time.Hour)
			case op == 0xFC:
				if err := NewRTC(c.now, nil).Restore(r.Save()); err != nil {
					t.Fatal(err)
				}
			case op&0x80 != 0:
				readRTC(t, r, reg)
			default:
				cmosWrite(r, reg, arg)
			}
			checkRTC(t, r)
		})
	})
}

// readRTC reads a register and checks what can be known of it.
func readRTC(t *testing.T, r *RTC, reg uint8) {
	b := r.ram[rtcB]
	v := cmosRead(r, reg)
	switch reg {
	case rtcA:
		if v&rtcUIP != 0 && r.stopped() {
			t.Fatal("UIP while the time stands still")
		}
	case rtcC:
		if v&0x0F != 0 || (v&rtcIRQF != 0) != (v&b&rtcIRQMask != 0) {
			t.Fatalf("C is %#x with B %#x", v, b)
		}
		if r.ram[rtcC] != 0 {
			t.Fatal("C is not cleared by reading")
		}
	case rtcD:
		if v != rtcValid {
			t.Fatalf("D is %#x", v)
		}
	case rtcSecond, rtcMinute:
		if !r.stopped() && r.parse(v) > 59 {
			t.Fatalf("register %d is %#x", reg, v)
		}
	}
}

func checkRTC(t *testing.T, r *RTC) {
	if r.line.high != (r.ram[rtcC]&rtcIRQF != 0) {
		t.Fatalf("the line is %v with C %#x", r.line.high, r.ram[rtcC])
	}
	if at, ok := r.nextAlarm(r.seen); ok && (!at.After(r.seen) || at.Sub(r.seen) > 24*time.Hour) {
		t.Fatalf("next alarm %v after %v", at, r.seen)
	}
}
