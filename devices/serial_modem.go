package devices

// writeMCR sets the modem control outputs. RTS steers the input; in loopback the
// outputs come back as inputs, and the receiver is off the line (8.8).
func (s *Serial) writeMCR(v uint8) {
	before := s.modemLines()
	entering := v&^s.mcr&mcrLoop != 0
	s.mcr = v
	if entering {
		s.rx.unreceive()
	}
	if v&(mcrRTS|mcrLoop) == mcrRTS {
		s.rx.rtsUsed = true
	}
	s.noteModem(before, s.modemLines())
	s.feed()
}

// modemLines is the upper half of the MSR.
func (s *Serial) modemLines() uint8 {
	if !s.loopback() {
		return msrConnected
	}
	var v uint8
	if s.mcr&mcrRTS != 0 {
		v |= msrCTS
	}
	if s.mcr&mcrDTR != 0 {
		v |= msrDSR
	}
	if s.mcr&mcrOUT1 != 0 {
		v |= msrRI
	}
	if s.mcr&mcrOUT2 != 0 {
		v |= msrDCD
	}
	return v
}

// noteModem records changes of the modem lines in the delta bits (8.9).
func (s *Serial) noteModem(before, after uint8) {
	changed := before ^ after
	if changed&msrCTS != 0 {
		s.msrDelta |= msrDCTS
	}
	if changed&msrDSR != 0 {
		s.msrDelta |= msrDDSR
	}
	if before&^after&msrRI != 0 {
		s.msrDelta |= msrTERI
	}
	if changed&msrDCD != 0 {
		s.msrDelta |= msrDDCD
	}
}
