package devices

// Registers and bits of the 16550A UART. Section numbers are those of the National
// Semiconductor PC16550D data sheet (June 1995), chapter 8 "Registers".

// Register offsets from the base port (table 8-1). Offsets 0 and 1 are the divisor
// latch while LCR.DLAB is set.
const (
	serialData = 0 // RBR on read, THR on write; DLL with DLAB
	serialIER  = 1 // IER; DLM with DLAB
	serialIIR  = 2 // IIR on read, FCR on write
	serialLCR  = 3
	serialMCR  = 4
	serialLSR  = 5
	serialMSR  = 6
	serialSCR  = 7

	// SerialSize is the number of ports that a Serial occupies.
	SerialSize = 8
)

// Interrupt enable register (8.7).
const (
	ierRDI  = 1 << 0 // received data available, character time-out
	ierTHRI = 1 << 1 // transmitter holding register empty
	ierRLSI = 1 << 2 // receiver line status
	ierMSI  = 1 << 3 // modem status
	ierMask = 0x0F   // bits 4 to 7 are always zero
)

// Interrupt identification register (8.6, table 8-3): sources, highest first.
const (
	iirRLS  = 0x06 // receiver line status
	iirRDI  = 0x04 // received data available
	iirCTI  = 0x0C // character time-out
	iirTHR  = 0x02 // transmitter holding register empty
	iirMSR  = 0x00 // modem status
	iirNone = 0x01 // no interrupt is pending
	iirFIFO = 0xC0 // the FIFOs are on
)

// FIFO control register (8.5).
const (
	fcrEnable       = 1 << 0
	fcrClearRX      = 1 << 1
	fcrClearTX      = 1 << 2
	fcrTriggerShift = 6
)

// Line control register (8.1).
const (
	lcrBreak = 1 << 6
	lcrDLAB  = 1 << 7
)

// Modem control register (8.8).
const (
	mcrDTR  = 1 << 0
	mcrRTS  = 1 << 1
	mcrOUT1 = 1 << 2
	mcrOUT2 = 1 << 3
	mcrLoop = 1 << 4
	mcrMask = 0x1F // bits 5 to 7 are always zero
)

// Line status register (8.4).
const (
	lsrDR    = 1 << 0 // data ready
	lsrOE    = 1 << 1 // overrun
	lsrBI    = 1 << 4 // break
	lsrTHRE  = 1 << 5 // transmitter holding register empty
	lsrTEMT  = 1 << 6 // transmitter empty
	lsrFIFOE = 1 << 7 // a byte in the FIFO carries an error
)

// Modem status register (8.9).
const (
	msrDCTS = 1 << 0 // CTS changed
	msrDDSR = 1 << 1 // DSR changed
	msrTERI = 1 << 2 // RI fell
	msrDDCD = 1 << 3 // DCD changed
	msrCTS  = 1 << 4
	msrDSR  = 1 << 5
	msrRI   = 1 << 6
	msrDCD  = 1 << 7

	// msrConnected is what a null-modem cable to a listening peer shows.
	msrConnected = msrCTS | msrDSR | msrDCD
)

const (
	// serialFIFO is the depth of both FIFOs (section 1).
	serialFIFO = 16
	// serialDivisor is the divisor latch after power-on: 115200 baud from the
	// PC's 1.8432 MHz clock.
	serialDivisor = 1
)

// rxTrigger is the receive FIFO's trigger level for FCR bits 7:6 (8.5).
func rxTrigger(fcr uint8) int {
	switch fcr >> fcrTriggerShift {
	case 0:
		return 1
	case 1:
		return 4
	case 2:
		return 8
	}
	return 14
}
