package devices

import "testing"

// FuzzACPI accesses the register block at random, in all widths.
func FuzzACPI(f *testing.F) {
	f.Add([]byte{0x40, 0x34, 0x05, 0, 0x80, 0, 0x0C, 0})
	f.Add([]byte{0x42, 0x01, 0x41, 0xFF, 0x06, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		irq := &countIRQ{}
		var log eventLog
		a := NewACPI(log.add, irq)
		presses := uint64(0)
		ops(data, func(op, arg uint8) {
			off := uint64(op & 7)
			n := min(1<<(op>>3&3), ACPISize-off)
			log.got = log.got[:0]
			switch {
			case op&0x80 != 0:
				a.PressPowerButton()
				presses++
				if a.pending&GEDPowerButton == 0 {
					t.Fatal("a press is lost")
				}
			case op&0x40 != 0:
				p := make([]byte, n)
				fill(p, arg)
				a.Write(off, p)
				checkACPIEvents(t, log.got, off, n, arg)
			default:
				a.Read(off, make([]byte, n))
				if off <= acpiGED && off+n > acpiGED && a.pending != 0 {
					t.Fatal("reading does not clear the event register")
				}
			}
			if irq.count() != presses {
				t.Fatalf("%d interrupts for %d presses", irq.count(), presses)
			}
			if err := NewACPI(nil, nil).Restore(a.Save()); err != nil {
				t.Fatal(err)
			}
		})
	})
}

// checkACPIEvents compares the events of a write with what the registers in reach
// ask for.
func checkACPIEvents(t *testing.T, got []Event, off, n uint64, v uint8) {
	in := func(reg uint64) bool { return off <= reg && reg < off+n }
	want := 0
	if in(acpiSleepControl) && v&slpEnable != 0 && v>>slpTypeShift&slpTypeMask == SleepTypeS5 {
		want++
	}
	if in(acpiReset) && v == ACPIResetValue {
		want++
	}
	if len(got) != want {
		t.Fatalf("write of %#x to %d+%d: events %v", v, off, n, got)
	}
}
