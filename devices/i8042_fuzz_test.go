package devices

import "testing"

// FuzzI8042 reads and writes both ports at random, with keys pressed in between.
func FuzzI8042(f *testing.F) {
	f.Add([]byte{1, 0x60, 0, 0x41, 0, 0xF4, 4, 0, 2, 0, 3, 0})
	f.Add([]byte{1, 0xD4, 0, 0xFF, 3, 0, 2, 0})
	f.Add([]byte{0, 0xF2, 1, 0xAA, 5, 0, 2, 0, 2, 0, 2, 0, 2, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		irq := &countIRQ{}
		resets := 0
		k := NewI8042(func(e Event) {
			if e != Reset {
				t.Fatalf("event %v", e)
			}
			resets++
		}, irq)
		ops(data, func(op, arg uint8) {
			before, high, n := resets, k.line.high, irq.count()
			switch op % 6 {
			case 0:
				kbdWrite(k, arg)
			case 1:
				kbdCommand(k, arg)
				if arg >= 0xF0 && (resets > before) != (arg&1 == 0) {
					t.Fatalf("command %#x: reset %v", arg, resets > before)
				}
			case 2:
				kbdRead(k)
			case 3:
				if st := kbdStatus(k); (st&i8042StatusOBF != 0) != k.full || st&2 != 0 {
					t.Fatalf("status %#x, output buffer full %v", st, k.full)
				}
			case 4:
				_ = k.CtrlAltDel()
			default:
				c := NewI8042(nil, nil)
				st := k.Save()
				if err := c.Restore(st); err != nil {
					t.Fatal(err)
				}
			}
			checkI8042(t, k)
			if !high && k.line.high && irq.count() == n {
				t.Fatal("the line rose without an interrupt")
			}
		})
	})
}

func checkI8042(t *testing.T, k *I8042) {
	if want := k.full && k.out.kbd && k.ram[0]&i8042CtlKbdInt != 0; k.line.high != want {
		t.Fatalf("the line is %v, want %v", k.line.high, want)
	}
	if !k.full && k.kbd.len > 0 && k.ram[0]&i8042CtlKbdDis == 0 {
		t.Fatal("a byte of the keyboard is stuck")
	}
	if k.kbd.len > kbdQueue || k.ram[0]&i8042CtlAuxDis == 0 {
		t.Fatalf("queue %d, control byte %#x", k.kbd.len, k.ram[0])
	}
}
