package qcow2

import "encoding/binary"

// Bits of L1 and L2 entries (specification, "Cluster mapping").
const (
	entryOffset     = 1<<56 - 1<<9 // bits 9 to 55
	entryCopied     = 1 << 63      // the reference count is exactly one: write in place
	entryCompressed = 1 << 62
	entryZero       = 1 << 0 // version 3: reads as zeroes whatever the offset says
)

type kind uint8

const (
	kindUnallocated kind = iota // reads as the backing image, or zeroes
	kindZero
	kindData
	kindCompressed
)

// extent is a run of bytes that lie together.
type extent struct {
	kind   kind
	copied bool  // data, or a place kept for it, that may be written in place
	n      int64 // bytes
	host   int64 // data: where the first byte lies in the file; zero: the place kept, or 0
	entry  uint64
}

// kindOf tells what an L2 entry stands for.
func (d *Image) kindOf(e uint64) kind {
	switch {
	case e&entryCompressed != 0:
		return kindCompressed
	case e&entryZero != 0:
		return kindZero
	case e&entryOffset == 0:
		return kindUnallocated
	}
	return kindData
}

// place finds where a guest cluster's L2 entry is: its index in L1, the offset of its
// slice in the L2 table, and its offset in the slice.
func (d *Image) place(cluster int64) (l1 int, table int64, at int) {
	entries := d.clusterBits - 3
	byteOff := (cluster & (1<<entries - 1)) << 3
	at = int(byteOff) & (d.l2.size - 1)
	return int(cluster >> entries), byteOff - int64(at), at
}

// lookup finds how the bytes from off on lie: at least one, at most n and the rest of the
// slice of the L2 table. With write it refuses what must not be written to. It is called
// with io held to read, or alloc.
func (d *Image) lookup(off, n int64, write bool) (extent, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	cluster := off >> d.clusterBits
	inside := off & (d.clusterSize - 1)
	i, table, at := d.place(cluster)
	l2 := int64(d.l1[i] & entryOffset)
	if l2 == 0 {
		// The rest of what this slice would map is like it.
		rest := int64(d.l2.size-at)/8<<d.clusterBits - inside
		return extent{kind: kindUnallocated, n: min(n, rest)}, nil
	}
	if err := d.checkTable("L2 table", i, l2); err != nil {
		return extent{}, err
	}
	s, err := d.l2.get(l2 + table)
	if err != nil {
		return extent{}, err
	}
	ext, err := d.extentAt(s.data[at:], inside, n)
	if d.l1[i]&entryCopied == 0 {
		ext.copied = false // the table is shared, and so is all that it maps
	}
	if err == nil && write && ext.copied && ext.host != 0 {
		err = d.mayWrite(ext)
	}
	return ext, err
}

// extentAt reads the run that begins with the first entry of p, inside bytes into its
// cluster.
func (d *Image) extentAt(p []byte, inside, n int64) (extent, error) {
	e := binary.BigEndian.Uint64(p)
	ext := extent{kind: d.kindOf(e), entry: e, n: d.clusterSize - inside}
	switch ext.kind {
	case kindCompressed:
		ext.n = min(ext.n, n)
		return ext, nil
	case kindZero:
		if d.version < 3 {
			return ext, corrupt("zero cluster in a version 2 image")
		}
	}
	base := int64(e & entryOffset)
	if base&(d.clusterSize-1) != 0 {
		return ext, corrupt("cluster at offset %#x", base)
	}
	ext.copied = e&entryCopied != 0
	if base != 0 {
		ext.host = base + inside
	}
	for ext.n < n && len(p) >= 16 {
		p = p[8:]
		next := binary.BigEndian.Uint64(p)
		if !d.joins(ext, e, next) {
			break
		}
		e = next
		ext.n += d.clusterSize
	}
	ext.n = min(ext.n, n)
	return ext, nil
}

// joins tells whether the entry next goes on where e, the last of ext, ends.
func (d *Image) joins(ext extent, e, next uint64) bool {
	if d.kindOf(next) != ext.kind || (next&entryCopied != 0) != ext.copied {
		return false
	}
	if ext.kind != kindData {
		return next&entryOffset == 0 && e&entryOffset == 0
	}
	return next&entryOffset == e&entryOffset+uint64(d.clusterSize)
}

// mayWrite refuses guest data over tables or past the file's end, as a hostile image may
// have it.
func (d *Image) mayWrite(ext extent) error {
	first := ext.host >> d.clusterBits
	last := (ext.host + ext.n - 1) >> d.clusterBits
	if last >= d.end.Load() {
		return corrupt("cluster at %#x lies past the end of the file", last<<d.clusterBits)
	}
	if d.meta.overlaps(first, last-first+1) {
		return corrupt("guest data at %#x lies over the image's own tables", ext.host)
	}
	return nil
}
