package devices

import (
	"errors"
	"slices"
	"testing"
)

func kbdStatus(k *I8042) uint8     { return inb(k.Command(), 0) }
func kbdRead(k *I8042) uint8       { return inb(k.Data(), 0) }
func kbdWrite(k *I8042, v uint8)   { outb(k.Data(), 0, v) }
func kbdCommand(k *I8042, v uint8) { outb(k.Command(), 0, v) }

// kbdDrain reads all that is in the output buffer, one byte after the other.
func kbdDrain(k *I8042) []byte {
	var got []byte
	for kbdStatus(k)&i8042StatusOBF != 0 {
		got = append(got, kbdRead(k))
	}
	return got
}

func TestI8042ResetsAndA20(t *testing.T) {
	tests := []struct {
		name string
		do   func(*I8042)
		want []Event
	}{
		{"pulse reset", func(k *I8042) { kbdCommand(k, 0xFE) }, []Event{Reset}},
		{"pulse nothing", func(k *I8042) { kbdCommand(k, 0xFF) }, nil},
		{"pulse A20 only", func(k *I8042) { kbdCommand(k, 0xFD) }, nil},
		{"output port reset", func(k *I8042) { kbdCommand(k, 0xD1); kbdWrite(k, 0x02) }, []Event{Reset}},
		{"output port A20 off", func(k *I8042) { kbdCommand(k, 0xD1); kbdWrite(k, 0x01) }, nil},
		{"FE to the keyboard", func(k *I8042) { kbdWrite(k, 0xFE) }, nil},
		{"FE as a parameter", func(k *I8042) { kbdCommand(k, 0x60); kbdWrite(k, 0xFE) }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log eventLog
			tt.do(NewI8042(log.add, nil))
			if !slices.Equal(log.got, tt.want) {
				t.Errorf("events %v, want %v", log.got, tt.want)
			}
		})
	}
}

func TestI8042Commands(t *testing.T) {
	tests := []struct {
		name string
		cmd  uint8
		arg  []byte
		want []byte
	}{
		{"self-test", 0xAA, nil, []byte{0x55}},
		{"keyboard test", 0xAB, nil, []byte{0x00}},
		{"mouse test", 0xA9, nil, []byte{0x01}},
		{"password", 0xA4, nil, []byte{0xF1}},
		{"control byte", 0x20, nil, []byte{i8042CtlPowerOn}},
		{"input port", 0xC0, nil, []byte{0x80}},
		{"output port", 0xD0, nil, []byte{0x03}},
		{"test inputs", 0xE0, nil, []byte{0x00}},
		{"write as keyboard", 0xD2, []byte{0x5A}, []byte{0x5A}},
		{"write as mouse", 0xD3, []byte{0x5A}, []byte{0x5A}},
		{"mouse port on", 0xA8, nil, nil},
		{"unknown", 0x99, nil, nil},
		{"parameter only", 0x61, []byte{7}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := NewI8042(nil, nil)
			kbdCommand(k, tt.cmd)
			wantByte(t, "A2 in the status", kbdStatus(k)&i8042StatusCmd, i8042StatusCmd)
			for _, v := range tt.arg {
				kbdWrite(k, v)
				wantByte(t, "A2 in the status", kbdStatus(k)&i8042StatusCmd, 0)
			}
			if got := kbdDrain(k); !slices.Equal(got, tt.want) {
				t.Errorf("answer %#v, want %#v", got, tt.want)
			}
		})
	}
}

func TestI8042RAM(t *testing.T) {
	k := NewI8042(nil, nil)
	kbdCommand(k, 0x6A)
	kbdWrite(k, 0x77)
	kbdCommand(k, 0x2A)
	wantByte(t, "RAM", kbdRead(k), 0x77)
	wantByte(t, "read again", kbdRead(k), 0x77)
	kbdCommand(k, 0x60)
	kbdWrite(k, 0x00)
	kbdCommand(k, 0x20)
	wantByte(t, "the mouse port stays off", kbdRead(k), i8042CtlAuxDis)
	wantByte(t, "SYS in the status", kbdStatus(k)&i8042StatusSys, 0)
}

func TestI8042Keyboard(t *testing.T) {
	tests := []struct {
		name  string
		bytes []byte
		want  []byte
	}{
		{"reset", []byte{0xFF}, []byte{0xFA, 0xAA}},
		{"identify", []byte{0xF2}, []byte{0xFA, 0xAB, 0x41}},
		{"LEDs", []byte{0xED, 0x07}, []byte{0xFA, 0xFA}},
		{"repeat", []byte{0xF3, 0x20}, []byte{0xFA, 0xFA}},
		{"echo", []byte{0xEE}, []byte{0xEE}},
		{"enable, disable, defaults", []byte{0xF4, 0xF5, 0xF6}, []byte{0xFA, 0xFA, 0xFA}},
		{"which set", []byte{0xF0, 0x00}, []byte{0xFA, 0xFA, 0x02}},
		{"set 3", []byte{0xF0, 0x03, 0xF0, 0x00}, []byte{0xFA, 0xFA, 0xFA, 0xFA, 0x03}},
		{"key types", []byte{0xF7, 0xFA, 0xFB, 0x10}, []byte{0xFA, 0xFA, 0xFA, 0xFA}},
		{"unknown", []byte{0x12}, []byte{0xFE}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := NewI8042(nil, nil)
			for _, v := range tt.bytes {
				kbdWrite(k, v)
			}
			if got := kbdDrain(k); !slices.Equal(got, tt.want) {
				t.Errorf("answer %#v, want %#v", got, tt.want)
			}
		})
	}
	k := NewI8042(nil, nil)
	kbdWrite(k, 0xEE)
	kbdDrain(k)
	kbdWrite(k, 0xFE)
	if got := kbdDrain(k); !slices.Equal(got, []byte{0xEE}) {
		t.Errorf("resend gave %#v", got)
	}
	kbdCommand(k, 0x60)
	kbdWrite(k, i8042CtlKbdInt) // no translation
	kbdWrite(k, 0xF2)
	if got := kbdDrain(k); !slices.Equal(got, []byte{0xFA, 0xAB, 0x83}) {
		t.Errorf("untranslated identity %#v", got)
	}
}

// i8042Driver imitates Linux drivers/input/serio/i8042.c. Where the kernel would
// wait for a bit, the driver fails: each such wait can take half a second.
type i8042Driver struct {
	t   *testing.T
	k   *I8042
	irq *countIRQ
	ctr uint8
}

// command is __i8042_command: parameters and results as coded in bits 8 to 15.
func (d *i8042Driver) command(cmd int, param *uint8) error {
	kbdCommand(d.k, uint8(cmd))
	for range cmd >> 12 & 0xF {
		kbdWrite(d.k, *param)
	}
	for range cmd >> 8 & 0xF {
		st := kbdStatus(d.k)
		if st&i8042StatusOBF == 0 {
			d.t.Fatalf("command %#x: no answer: Linux would wait half a second", cmd)
		}
		if cmd&0xFF == 0xD3 && st&i8042StatusAux == 0 {
			return errors.New("auxerr")
		}
		*param = kbdRead(d.k)
	}
	return nil
}

func (d *i8042Driver) must(cmd int, param *uint8) {
	d.t.Helper()
	if err := d.command(cmd, param); err != nil {
		d.t.Fatalf("command %#x: %v", cmd, err)
	}
}

// probe is i8042_probe up to the enabling of the keyboard.
func (d *i8042Driver) probe() {
	t := d.t
	if got := kbdDrain(d.k); len(got) != 0 {
		t.Fatalf("the flush found %#v", got)
	}
	var v uint8
	d.must(0x01AA, &v)
	wantByte(t, "self-test", v, 0x55)
	d.must(0x0120, &d.ctr)
	d.must(0x0120, &v)
	wantByte(t, "second reading of the control byte", v, d.ctr)
	if kbdStatus(d.k)&i8042StatusUnlock == 0 {
		t.Error("the keyboard is locked")
	}
	if d.ctr&i8042CtlXlate == 0 {
		t.Error("translation is off: Linux would use direct mode")
	}
	d.ctr = d.ctr&^i8042CtlKbdInt | i8042CtlKbdDis
	d.must(0x1060, &d.ctr)
	// i8042_check_aux: the mouse must be found missing.
	v = 0x5A
	if err := d.command(0x11D3, &v); err == nil {
		t.Error("the mouse port answers its loop test")
	}
	d.must(0x01A9, &v)
	if v == 0 || v == 0xFA || v == 0xFF {
		t.Errorf("mouse port test gave %#x, which Linux takes for a mouse", v)
	}
	// i8042_enable_kbd_port
	d.ctr = d.ctr&^i8042CtlKbdDis | i8042CtlKbdInt
	d.must(0x1060, &d.ctr)
}

// interrupt takes the byte that an interrupt announced.
func (d *i8042Driver) interrupt() uint8 {
	d.t.Helper()
	if d.irq.n.Swap(0) != 1 {
		d.t.Fatal("not just one interrupt")
	}
	if kbdStatus(d.k)&(i8042StatusOBF|i8042StatusAux) != i8042StatusOBF {
		d.t.Fatal("an interrupt without a byte of the keyboard")
	}
	return kbdRead(d.k)
}

// keyboard sends a byte to the keyboard, as libps2 does, and takes the answers by
// interrupt.
func (d *i8042Driver) keyboard(v uint8, want ...uint8) {
	d.t.Helper()
	kbdWrite(d.k, v)
	for i, w := range want {
		if got := d.interrupt(); got != w {
			d.t.Fatalf("answer %d to %#x is %#x, want %#x", i, v, got, w)
		}
	}
}

func TestI8042LinuxProbe(t *testing.T) {
	irq := &countIRQ{}
	k := NewI8042(nil, irq)
	if err := k.CtrlAltDel(); !errors.Is(err, ErrNoKeyboardDriver) {
		t.Fatalf("Ctrl-Alt-Del without a driver: %v", err)
	}
	d := &i8042Driver{t: t, k: k, irq: irq}
	d.probe()
	if irq.count() != 0 {
		t.Errorf("%d interrupts during the probe", irq.count())
	}
	// atkbd_probe, atkbd_reset_state, atkbd_activate.
	d.keyboard(0xF2, 0xFA, 0xAB, 0x41)
	d.keyboard(0xF5, 0xFA)
	d.keyboard(0xED, 0xFA)
	d.keyboard(0x00, 0xFA)
	d.keyboard(0xF3, 0xFA)
	d.keyboard(0x00, 0xFA)
	if err := k.CtrlAltDel(); !errors.Is(err, ErrNoKeyboardDriver) {
		t.Fatalf("Ctrl-Alt-Del before scanning: %v", err)
	}
	d.keyboard(0xF4, 0xFA)

	if err := k.CtrlAltDel(); err != nil {
		t.Fatal(err)
	}
	if err := k.CtrlAltDel(); err != nil {
		t.Fatal(err)
	}
	if err := k.CtrlAltDel(); !errors.Is(err, ErrKeyboardBusy) {
		t.Fatalf("third Ctrl-Alt-Del in a row: %v", err)
	}
	var got []byte
	for range 2 * len(ctrlAltDelSet1) {
		got = append(got, d.interrupt())
	}
	if string(got) != ctrlAltDelSet1+ctrlAltDelSet1 {
		t.Errorf("keys %#v", got)
	}
	if irq.count() != 0 || kbdStatus(k)&i8042StatusOBF != 0 {
		t.Error("something is left over")
	}
}

func TestI8042CtrlAltDelUntranslated(t *testing.T) {
	k := NewI8042(nil, nil)
	kbdCommand(k, 0x60)
	kbdWrite(k, i8042CtlKbdInt)
	kbdWrite(k, kbdEnable)
	kbdDrain(k)
	if err := k.CtrlAltDel(); err != nil {
		t.Fatal(err)
	}
	if got := kbdDrain(k); string(got) != ctrlAltDelSet2 {
		t.Errorf("keys %#v", got)
	}
}

// An answer of the controller goes before a byte of the keyboard, and does not eat
// it; a keyboard that is held keeps its bytes.
func TestI8042Order(t *testing.T) {
	k := NewI8042(nil, nil)
	kbdWrite(k, 0xF2)
	kbdCommand(k, 0xAA)
	if got, want := kbdDrain(k), []byte{0x55, 0xFA, 0xAB, 0x41}; !slices.Equal(got, want) {
		t.Errorf("got %#v, want %#v", got, want)
	}
	kbdWrite(k, 0xF2)
	wantByte(t, "first", kbdRead(k), 0xFA)
	kbdCommand(k, 0xAD)
	wantByte(t, "already in the buffer", kbdRead(k), 0xAB)
	if kbdStatus(k)&i8042StatusOBF != 0 {
		t.Error("a held keyboard sends")
	}
	kbdCommand(k, 0xAE)
	wantByte(t, "after release", kbdRead(k), 0x41)
}

func TestI8042MouseCommandFailsAtOnce(t *testing.T) {
	k := NewI8042(nil, nil)
	kbdCommand(k, 0xD4)
	kbdWrite(k, 0xF2)
	st := kbdStatus(k)
	wantByte(t, "status", st&(i8042StatusOBF|i8042StatusAux|i8042StatusTimeout), i8042StatusOBF|i8042StatusAux|i8042StatusTimeout)
	wantByte(t, "answer", kbdRead(k), 0xFE)
}

func TestI8042NoAllocs(t *testing.T) {
	k := NewI8042(nil, &countIRQ{})
	data := []byte{0xF4}
	d, c := k.Data(), k.Command()
	outb(c, 0, 0x60)
	outb(d, 0, i8042CtlKbdInt|i8042CtlXlate)
	wantNoAllocs(t, "access", func() { d.Write(0, data); c.Read(0, data); d.Read(0, data); data[0] = 0xF4 })
	wantNoAllocs(t, "Ctrl-Alt-Del", func() {
		_ = k.CtrlAltDel()
		for range kbdQueue + 1 {
			d.Read(0, data)
		}
		data[0] = 0xF4
	})
}
