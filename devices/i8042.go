package devices

import (
	"errors"
	"sync"
)

// Errors of CtrlAltDel.
var (
	// ErrNoKeyboardDriver means that no driver in the guest listens to the
	// keyboard: its port, its interrupt or its scanning is off.
	ErrNoKeyboardDriver = errors.New("the guest has no keyboard driver")
	// ErrKeyboardBusy means that the guest has yet to read keys sent before.
	ErrKeyboardBusy = errors.New("the guest does not read its keyboard")
)

// I8042 is the keyboard controller with a keyboard and no mouse. It is there for
// what software expects of it: to reset the machine (0xFE), to be found in order
// by a probing driver, and to carry Ctrl-Alt-Del.
//
// Every command is answered at once, those for the missing mouse with an error:
// Linux waits up to half a second for an answer that does not come
// (I8042_CTL_TIMEOUT).
//
// It is two devices on the bus, Data and Command. The interrupt is raised for bytes
// from the keyboard, not for answers of the controller, for which drivers poll.
type I8042 struct {
	events  EventFunc
	data    i8042Data
	command i8042Command

	mu   sync.Mutex
	line edgeLine
	ram  [i8042RAMMask + 1]uint8 // the control byte is at 0
	out  i8042Byte               // the output buffer
	full bool
	port uint8 // the output port, without the OBF bit
	last uint8 // the command whose parameter is awaited, or 0
	cmd  bool  // the last write was a command
	kbd  keyboard
}

// i8042Byte is a byte for the guest and where it came from.
type i8042Byte struct {
	v      uint8
	status uint8 // status bits that go with it
	kbd    bool  // from the keyboard: it raises the interrupt
}

type (
	i8042Data    struct{ k *I8042 }
	i8042Command struct{ k *I8042 }
)

// NewI8042 makes the controller. The interrupt is the keyboard's, GSI 1; either
// argument may be nil.
func NewI8042(events EventFunc, irq Interrupt) *I8042 {
	k := &I8042{events: events, line: edgeLine{irq: irq}, port: i8042OutRun | i8042OutA20}
	k.ram[0] = i8042CtlPowerOn
	k.kbd.defaults()
	k.data.k, k.command.k = k, k
	return k
}

// Data is the data port, for I8042DataPort.
func (k *I8042) Data() Device { return &k.data }

// Command is the command and status port, for I8042CommandPort.
func (k *I8042) Command() Device { return &k.command }

// Name is the device's name in messages.
func (*i8042Data) Name() string { return "i8042 data" }

// Name is the device's name in messages.
func (*i8042Command) Name() string { return "i8042 command" }

// Read takes the byte in the output buffer.
func (d *i8042Data) Read(_ uint64, data []byte) {
	for i := range data {
		data[i] = d.k.readData()
	}
}

// Write gives a parameter to the controller or a byte to the keyboard.
func (d *i8042Data) Write(_ uint64, data []byte) {
	for _, v := range data {
		d.k.writeData(v)
	}
}

// Read reads the status.
func (c *i8042Command) Read(_ uint64, data []byte) { fill(data, c.k.status()) }

// Write gives a command to the controller.
func (c *i8042Command) Write(_ uint64, data []byte) {
	for _, v := range data {
		c.k.writeCommand(v)
	}
}

// CtrlAltDel presses and releases Ctrl, Alt and Del. Linux answers it with a
// reboot or, once init has said so, with a signal to init.
func (k *I8042) CtrlAltDel() error {
	k.mu.Lock()
	ctl := k.ram[0]
	if ctl&(i8042CtlKbdInt|i8042CtlKbdDis) != i8042CtlKbdInt || !k.kbd.scanning {
		k.mu.Unlock()
		return ErrNoKeyboardDriver
	}
	keys := ctrlAltDelSet2
	if ctl&i8042CtlXlate != 0 {
		keys = ctrlAltDelSet1
	}
	if !k.kbd.fits(len(keys)) {
		k.mu.Unlock()
		return ErrKeyboardBusy
	}
	k.kbd.send([]byte(keys)...)
	k.unlock()
	return nil
}

// unlock loads the output buffer, sets the interrupt line, and lets go of the lock.
func (k *I8042) unlock() {
	if !k.full && k.ram[0]&i8042CtlKbdDis == 0 {
		if v, ok := k.kbd.next(); ok {
			k.out, k.full = i8042Byte{v: v, kbd: true}, true
		}
	}
	rise := k.line.set(k.full && k.out.kbd && k.ram[0]&i8042CtlKbdInt != 0)
	k.mu.Unlock()
	if rise {
		k.line.fire()
	}
}

// answer puts a byte of the controller into the output buffer. A byte from the
// keyboard that is there steps back; one of the controller's own is lost.
func (k *I8042) answer(b i8042Byte) {
	if k.full && k.out.kbd {
		k.kbd.putBack(k.out.v)
		k.line.set(false)
	}
	k.out, k.full = b, true
}

func (k *I8042) status() uint8 {
	k.mu.Lock()
	defer k.mu.Unlock()
	v := uint8(i8042StatusUnlock) | k.ram[0]&i8042CtlSys
	if k.full {
		v |= i8042StatusOBF | k.out.status
	}
	if k.cmd {
		v |= i8042StatusCmd
	}
	return v
}

// readData takes the byte in the output buffer; without one the register shows the
// last. The interrupt falls, so that the next byte is an edge of its own.
func (k *I8042) readData() uint8 {
	k.mu.Lock()
	k.full = false
	k.line.set(false)
	v := k.out.v
	k.unlock()
	return v
}

func (k *I8042) writeCommand(c uint8) {
	k.mu.Lock()
	k.cmd, k.last = true, 0
	reset := false
	switch {
	case c >= i8042CmdReadRAM && c <= i8042CmdReadRAM|i8042RAMMask:
		k.answer(i8042Byte{v: k.ram[c&i8042RAMMask]})
	case c >= i8042CmdWriteRAM && c <= i8042CmdWriteRAM|i8042RAMMask:
		k.last = c
	case c >= i8042CmdPulse:
		reset = c&i8042OutRun == 0
	default:
		k.simpleCommand(c)
	}
	k.unlock()
	if reset {
		k.events.emit(Reset)
	}
}

// simpleCommand handles commands that stand alone. Those that it does not know are
// ignored, as is the enabling of a mouse port.
func (k *I8042) simpleCommand(c uint8) {
	switch c {
	case i8042CmdPassword:
		k.answer(i8042Byte{v: i8042RetNoPassword})
	case i8042CmdAuxTest:
		k.answer(i8042Byte{v: i8042RetAuxTest})
	case i8042CmdSelfTest:
		k.ram[0] |= i8042CtlSys
		k.answer(i8042Byte{v: i8042RetSelfTest})
	case i8042CmdKbdTest:
		k.answer(i8042Byte{v: i8042RetKbdTest})
	case i8042CmdKbdDisable:
		k.ram[0] |= i8042CtlKbdDis
	case i8042CmdKbdEnable:
		k.ram[0] &^= i8042CtlKbdDis
	case i8042CmdReadInput:
		k.answer(i8042Byte{v: i8042RetInput})
	case i8042CmdReadOutput:
		v := k.port
		if k.full && k.out.kbd {
			v |= i8042OutOBF
		}
		k.answer(i8042Byte{v: v})
	case i8042CmdA20Off:
		k.port &^= i8042OutA20
	case i8042CmdA20On:
		k.port |= i8042OutA20
	case i8042CmdTestInputs:
		k.answer(i8042Byte{})
	case i8042CmdWriteOutput, i8042CmdKbdLoop, i8042CmdAuxLoop, i8042CmdAuxSend:
		k.last = c
	}
}

// writeData gives the parameter of a command, or else a byte to the keyboard, whose
// clock that starts.
func (k *I8042) writeData(v uint8) {
	k.mu.Lock()
	c := k.last
	k.cmd, k.last = false, 0
	reset := false
	switch c {
	case 0:
		k.ram[0] &^= i8042CtlKbdDis
		k.kbd.receive(v, k.ram[0]&i8042CtlXlate != 0)
	case i8042CmdWriteRAM:
		k.ram[0] = v | i8042CtlAuxDis
	case i8042CmdWriteOutput:
		k.port = v & (i8042OutRun | i8042OutA20)
		reset = v&i8042OutRun == 0
		k.port |= i8042OutRun
	case i8042CmdKbdLoop:
		k.answer(i8042Byte{v: v, kbd: true})
	case i8042CmdAuxLoop:
		// Without a mouse port the byte does not come back as the mouse's.
		k.answer(i8042Byte{v: v})
	case i8042CmdAuxSend:
		k.answer(i8042Byte{v: kbdNak, status: i8042StatusAux | i8042StatusTimeout})
	default:
		k.ram[c&i8042RAMMask] = v
	}
	k.unlock()
	if reset {
		k.events.emit(Reset)
	}
}
