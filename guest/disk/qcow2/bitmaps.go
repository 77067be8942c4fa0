package qcow2

import "encoding/binary"

const (
	extBitmaps = 0x23852875
	maxBitmaps = 65535
)

// walkBitmaps counts the clusters of persistent dirty bitmaps, which are valid while their
// autoclear bit stands (specification, "Bitmaps"). Nothing else here knows of them.
func (c *checker) walkBitmaps() error {
	if c.h.autoclear&autoclearBitmaps == 0 {
		return nil
	}
	head := make([]byte, min(c.h.clusterSize(), maxHeaderRead))
	if err := readFull(c.store, head, 0); err != nil {
		return err
	}
	ext, err := c.h.extension(head, extBitmaps)
	if err != nil || len(ext) < 24 {
		c.fault("bitmaps are said to be valid, but there are none")
		return nil
	}
	be := binary.BigEndian
	n, size, off := be.Uint32(ext), be.Uint64(ext[8:]), be.Uint64(ext[16:])
	if n > maxBitmaps || size > maxBitmaps*2048 || off > maxSize || !c.use("bitmap directory", int64(off), int64(size)) {
		return nil
	}
	for at := int64(off); n > 0; n-- {
		var p [24]byte
		if err := readFull(c.store, p[:], at); err != nil {
			return err
		}
		if err := c.bitmap(be.Uint64(p[:]), be.Uint32(p[8:])); err != nil {
			return err
		}
		// The entry: 24 bytes, extra data, the name, to a multiple of 8.
		at += (24 + int64(be.Uint32(p[20:])) + int64(be.Uint16(p[18:])) + 7) &^ 7
	}
	return nil
}

// bitmap counts one bitmap's table and what the table refers to.
func (c *checker) bitmap(off uint64, n uint32) error {
	if n > maxL1Bytes/8 || off > maxSize {
		c.fault("bitmap table at %#x of %d entries", off, n)
		return nil
	}
	if n == 0 || !c.use("bitmap table", int64(off), int64(n)*8) {
		return nil
	}
	table, err := loadTable(c.store, int64(off), int(n))
	if err != nil {
		return err
	}
	for _, e := range table {
		if data := int64(e & entryOffset); data != 0 {
			c.use("bitmap", data, c.h.clusterSize())
		}
	}
	return nil
}
