package devices

// Bits of system control port A (IBM PS/2 Hardware Interface Technical Reference,
// "System control port A").
const (
	port92Reset = 1 << 0 // a rising edge resets
	port92A20   = 1 << 1

	// Port92Address is where a PC has it; it is one port wide.
	Port92Address = 0x92
	// POSTAddress is the port of the diagnostic display; it is one port wide.
	POSTAddress = 0x80
)
