package devices

// Save returns the value of the port.
func (p *Port92) Save() uint8 { return uint8(p.value.Load()) }

// Restore sets the value, without the effect that writing it would have.
func (p *Port92) Restore(v uint8) { p.value.Store(uint32(v)) }

// Save returns the last code.
func (p *POST) Save() uint8 { return p.Code() }

// Restore sets the last code.
func (p *POST) Restore(v uint8) { p.code.Store(uint32(v)) }
