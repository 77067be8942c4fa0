package devices

// Registers of the 8042 keyboard controller and of the keyboard behind it. Sections
// are those of the IBM PS/2 Hardware Interface Technical Reference (1988), part
// "Keyboard and auxiliary device controller"; command numbers agree with Linux
// drivers/input/serio/i8042.h and include/linux/libps2.h.
const (
	// I8042DataPort and I8042CommandPort are where a PC has them; each is one
	// port wide. The ports between belong to others (0x61: PIT and NMI).
	I8042DataPort    = 0x60
	I8042CommandPort = 0x64
)

// Status register, read from the command port.
const (
	i8042StatusOBF     = 1 << 0 // the output buffer holds a byte for the guest
	i8042StatusSys     = 1 << 2 // the self-test passed; a copy of the control bit
	i8042StatusCmd     = 1 << 3 // the last write went to the command port
	i8042StatusUnlock  = 1 << 4 // the key lock is open
	i8042StatusAux     = 1 << 5 // the byte in the output buffer is the mouse's
	i8042StatusTimeout = 1 << 6 // the device did not answer
)

// Control byte, at address 0 of the controller's RAM.
const (
	i8042CtlKbdInt = 1 << 0 // a byte from the keyboard raises an interrupt
	i8042CtlSys    = 1 << 2
	i8042CtlKbdDis = 1 << 4 // the keyboard's clock is held
	i8042CtlAuxDis = 1 << 5
	i8042CtlXlate  = 1 << 6 // scan codes are translated from set 2 to set 1

	// i8042CtlPowerOn is what firmware would leave: translation on, no interrupt.
	i8042CtlPowerOn = i8042CtlSys | i8042CtlAuxDis | i8042CtlXlate
)

// Commands, written to the command port.
const (
	i8042CmdReadRAM     = 0x20 // to 0x3F
	i8042CmdWriteRAM    = 0x60 // to 0x7F; a parameter follows
	i8042CmdPassword    = 0xA4
	i8042CmdAuxTest     = 0xA9
	i8042CmdSelfTest    = 0xAA
	i8042CmdKbdTest     = 0xAB
	i8042CmdKbdDisable  = 0xAD
	i8042CmdKbdEnable   = 0xAE
	i8042CmdReadInput   = 0xC0
	i8042CmdReadOutput  = 0xD0
	i8042CmdWriteOutput = 0xD1 // a parameter follows
	i8042CmdKbdLoop     = 0xD2 // a parameter follows
	i8042CmdAuxLoop     = 0xD3 // a parameter follows
	i8042CmdAuxSend     = 0xD4 // a parameter follows
	i8042CmdA20Off      = 0xDD
	i8042CmdA20On       = 0xDF
	i8042CmdTestInputs  = 0xE0
	i8042CmdPulse       = 0xF0 // to 0xFF: a zero in bit 0 pulses the reset line

	i8042RAMMask = 0x1F
)

// Answers of the controller.
const (
	i8042RetSelfTest   = 0x55
	i8042RetKbdTest    = 0x00
	i8042RetAuxTest    = 0x01 // clock line stuck low: there is no mouse port
	i8042RetNoPassword = 0xF1
	i8042RetInput      = 0x80 // keyboard not inhibited
)

// Output port of the controller.
const (
	i8042OutRun = 1 << 0 // low resets the machine
	i8042OutA20 = 1 << 1
	i8042OutOBF = 1 << 4
)

// Commands to the keyboard, written to the data port.
const (
	kbdSetLEDs     = 0xED // a parameter follows
	kbdEcho        = 0xEE
	kbdScanSet     = 0xF0 // a parameter follows
	kbdIdentify    = 0xF2
	kbdRepeat      = 0xF3 // a parameter follows
	kbdEnable      = 0xF4
	kbdDisable     = 0xF5
	kbdDefaults    = 0xF6
	kbdAllKeys     = 0xF7 // to 0xFA: types of all keys, for set 3
	kbdOneKey      = 0xFB // to 0xFD: type of one key; a parameter follows
	kbdOneKeyLast  = 0xFD
	kbdResend      = 0xFE
	kbdReset       = 0xFF
	kbdAllKeysLast = 0xFA
)

// Answers of the keyboard.
const (
	kbdAck        = 0xFA
	kbdNak        = 0xFE
	kbdPassed     = 0xAA // the basic assurance test
	kbdID1        = 0xAB
	kbdID2        = 0x83
	kbdID2Set1    = 0x41 // the same, translated
	kbdDefaultSet = 2
)
