package pci

import "encoding/binary"

// Identity is what a function says of itself.
type Identity struct {
	VendorID, DeviceID     uint16
	Revision               uint8
	Class                  uint32 // 24 bits: class, sub-class, interface
	SubsysVendor, SubsysID uint16
}

// configSpace is a function's configuration space: its bytes, and which of their
// bits the guest may change.
type configSpace struct {
	bytes    [configSize]byte
	writable [configSize]byte
	lastCap  int // place of the "next" byte of the last capability
	capsEnd  int
}

func newConfigSpace(id Identity) *configSpace {
	c := &configSpace{lastCap: regCapPointer, capsEnd: regFirstCap}
	c.put16(regVendorID, id.VendorID)
	c.put16(regDeviceID, id.DeviceID)
	c.bytes[regRevision] = id.Revision
	c.bytes[regClass] = byte(id.Class)
	c.bytes[regClass+1] = byte(id.Class >> 8)
	c.bytes[regClass+2] = byte(id.Class >> 16)
	c.put16(regSubsysVendor, id.SubsysVendor)
	c.put16(regSubsys, id.SubsysID)
	binary.LittleEndian.PutUint16(c.writable[regCommand:], commandMemory|commandMaster|commandINTxDisable)
	c.writable[regIntLine] = 0xFF
	return c
}

func (c *configSpace) u16(at int) uint16      { return binary.LittleEndian.Uint16(c.bytes[at:]) }
func (c *configSpace) u32(at int) uint32      { return binary.LittleEndian.Uint32(c.bytes[at:]) }
func (c *configSpace) put16(at int, v uint16) { binary.LittleEndian.PutUint16(c.bytes[at:], v) }
func (c *configSpace) put32(at int, v uint32) { binary.LittleEndian.PutUint32(c.bytes[at:], v) }
func (c *configSpace) allow32(at int, bits uint32) {
	binary.LittleEndian.PutUint32(c.writable[at:], bits)
}

// addCapability links a capability into the list and returns its offset, or 0 if
// there is no room. body is what follows the ID and the pointer; writable, as long
// as body or shorter, has the bits that the guest may change.
func (c *configSpace) addCapability(id byte, body, writable []byte) int {
	at := c.capsEnd
	end := (at + 2 + len(body) + 3) &^ 3
	if end > configSize {
		return 0
	}
	c.bytes[c.lastCap] = byte(at)
	c.bytes[at] = id
	copy(c.bytes[at+2:], body)
	copy(c.writable[at+2:at+2+len(body)], writable)
	c.lastCap, c.capsEnd = at+1, end
	c.put16(regStatus, c.u16(regStatus)|statusCapabilities)
	return at
}

// read fills data from offset on. Behind the end there are zeroes.
func (c *configSpace) read(offset int, data []byte) {
	clear(data)
	if offset < configSize {
		copy(data, c.bytes[offset:])
	}
}

// write changes those bits that the guest may change.
func (c *configSpace) write(offset int, data []byte) {
	for i, v := range data {
		at := offset + i
		if at >= configSize {
			return
		}
		mask := c.writable[at]
		c.bytes[at] = c.bytes[at]&^mask | v&mask
	}
}
