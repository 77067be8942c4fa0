package acpi

import "encoding/binary"

// Table is a system description table without its header.
type Table struct {
	// Signature has four characters, "MCFG" say.
	Signature string
	Revision  uint8
	// Body is what follows the 36 bytes of the common header.
	Body []byte
}

// The common header, section 5.2.6.
const (
	signatureSize  = 4
	headerLength   = 4
	headerRevision = 8
	headerChecksum = 9
	headerOEM      = 10
	headerOEMTable = 16
	headerOEMRev   = 24
	headerCreator  = 28
	headerTool     = 32
	headerSize     = 36

	// tableAlign keeps tables off the same cache line, and is what the RSDP needs.
	tableAlign = 16

	oemID      = "GUREUM"
	oemTableID = "GUREUMVM"
	creatorID  = "GURM"
)

func putHeader(b []byte, t Table) {
	copy(b, t.Signature)
	binary.LittleEndian.PutUint32(b[headerLength:], uint32(headerSize+len(t.Body)))
	b[headerRevision] = t.Revision
	copy(b[headerOEM:], oemID)
	copy(b[headerOEMTable:], oemTableID)
	binary.LittleEndian.PutUint32(b[headerOEMRev:], 1)
	copy(b[headerCreator:], creatorID)
	binary.LittleEndian.PutUint32(b[headerTool:], 1)
}

// checksum returns the byte that makes the sum of all bytes zero.
func checksum(b []byte) byte {
	var sum byte
	for _, v := range b {
		sum += v
	}
	return -sum
}

// The root pointer, section 5.2.5.3.
const (
	rsdpSignature   = "RSD PTR "
	rsdpChecksum    = 8
	rsdpOEM         = 9
	rsdpRevision    = 15
	rsdpLength      = 20
	rsdpXSDT        = 24
	rsdpExtChecksum = 32
	rsdpSize        = 36
	rsdpSizeV1      = 20
)

// putRSDP writes a root pointer of revision 2 without an RSDT: there is no
// table that a reader which only knows 32-bit addresses could use.
func putRSDP(b []byte, xsdt uint64) {
	copy(b, rsdpSignature)
	copy(b[rsdpOEM:], oemID)
	b[rsdpRevision] = 2
	binary.LittleEndian.PutUint32(b[rsdpLength:], rsdpSize)
	binary.LittleEndian.PutUint64(b[rsdpXSDT:], xsdt)
	b[rsdpChecksum] = checksum(b[:rsdpSizeV1])
	b[rsdpExtChecksum] = checksum(b[:rsdpSize])
}

// xsdtTable is the list of all other tables, section 5.2.8.
func xsdtTable(addrs []uint64) Table {
	var b []byte
	for _, a := range addrs {
		b = binary.LittleEndian.AppendUint64(b, a)
	}
	return Table{Signature: "XSDT", Revision: 1, Body: b}
}

// MCFG is the table that says where the PCI Express configuration space of a
// segment group lies: 1 MiB a bus from base on, which is that of bus 0 even if
// firstBus is higher (PCI Firmware Specification 3.3, section 4.1.2).
func MCFG(base uint64, segment uint16, firstBus, lastBus uint8) Table {
	b := make([]byte, 8, 24) // reserved
	b = binary.LittleEndian.AppendUint64(b, base)
	b = binary.LittleEndian.AppendUint16(b, segment)
	b = append(b, firstBus, lastBus, 0, 0, 0, 0)
	return Table{Signature: "MCFG", Revision: 1, Body: b}
}
