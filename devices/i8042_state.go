package devices

import "fmt"

// I8042State is the state of an I8042 and its keyboard.
type I8042State struct {
	RAM        [32]uint8 // the control byte is at 0
	Full       bool      // Out is for the guest to read
	Out        uint8
	OutStatus  uint8 // status bits that go with Out
	OutKbd     bool  // Out came from the keyboard
	Port       uint8 // the output port
	Command    uint8 // the command that awaits its parameter, or 0
	WasCommand bool  // the last write was a command

	KbdQueue    [16]uint8 // oldest first
	KbdLen      uint8
	KbdScanning bool
	KbdSet      uint8
	KbdCommand  uint8
	KbdSent     uint8
}

// Save returns the state.
func (k *I8042) Save() I8042State {
	k.mu.Lock()
	defer k.mu.Unlock()
	st := I8042State{
		RAM: k.ram, Full: k.full, Out: k.out.v, OutStatus: k.out.status, OutKbd: k.out.kbd,
		Port: k.port, Command: k.last, WasCommand: k.cmd,
		KbdLen: uint8(k.kbd.len), KbdScanning: k.kbd.scanning, KbdSet: k.kbd.set,
		KbdCommand: k.kbd.cmd, KbdSent: k.kbd.sent,
	}
	for i := range k.kbd.len {
		st.KbdQueue[i] = k.kbd.queue[(k.kbd.head+i)%kbdQueue]
	}
	return st
}

// Restore sets the state, and raises the interrupt if a byte of the keyboard waits.
func (k *I8042) Restore(st I8042State) error {
	switch {
	case st.KbdLen > kbdQueue:
		return fmt.Errorf("restore i8042: %d bytes in a queue of %d: %w", st.KbdLen, kbdQueue, ErrBadState)
	case st.KbdSet < 1 || st.KbdSet > 3:
		return fmt.Errorf("restore i8042: scan code set is %d: %w", st.KbdSet, ErrBadState)
	case st.OutStatus&^(i8042StatusAux|i8042StatusTimeout) != 0, st.RAM[0]&i8042CtlAuxDis == 0:
		return fmt.Errorf("restore i8042: there is no mouse: %w", ErrBadState)
	case st.Port&^i8042OutA20 != i8042OutRun:
		return fmt.Errorf("restore i8042: output port is %#x: %w", st.Port, ErrBadState)
	}
	k.mu.Lock()
	k.ram, k.full, k.port = st.RAM, st.Full, st.Port
	k.out = i8042Byte{v: st.Out, status: st.OutStatus, kbd: st.OutKbd}
	k.last, k.cmd = st.Command, st.WasCommand
	k.kbd = keyboard{
		queue: st.KbdQueue, len: int(st.KbdLen), scanning: st.KbdScanning,
		set: st.KbdSet, cmd: st.KbdCommand, sent: st.KbdSent,
	}
	k.line.set(false)
	k.unlock()
	return nil
}
