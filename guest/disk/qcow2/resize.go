package qcow2

import (
	"fmt"

	"github.com/gureum/gureum/guest/disk/internal/host"
)

// Resize grows the disk to size bytes. What is new reads as zeroes, also where a backing
// image is longer than the disk was.
func (d *Image) Resize(size int64) error {
	if d.readOnly {
		return host.ErrReadOnly
	}
	old, err := d.grow(size)
	if err != nil || d.backing == nil {
		return err
	}
	if shows := min(d.backing.Size(), size); shows > old {
		return d.zero(old, shows-old, true)
	}
	return nil
}

// grow enters the new size in the header, with a larger L1 table if it takes one.
func (d *Image) grow(size int64) (old int64, err error) {
	d.alloc.Lock()
	defer d.alloc.Unlock()
	old = d.Size()
	switch {
	case size == old:
		return old, nil
	case size < old:
		return old, fmt.Errorf("resize from %d to %d bytes: %w", old, size, host.ErrShrink)
	case size > maxSize:
		return old, unsupported("disk of %d bytes", size)
	case d.head.snapshots > 0 && d.version < 3:
		return old, unsupported("resize of a version 2 image with snapshots: use qemu-img amend -o compat=1.1 first")
	}
	need := l1Needed(size, d.clusterBits)
	if need*8 > maxL1Bytes {
		return old, unsupported("disk of %d bytes with clusters of %d: larger clusters allow more", size, d.clusterSize)
	}
	if need > int64(len(d.l1)) {
		if err := d.growL1(int(need)); err != nil {
			return old, err
		}
	} else if err := d.writeTables(); err != nil {
		return old, err
	}
	if err := d.writeSize(size); err != nil {
		return old, err
	}
	d.size.Store(size)
	return old, nil
}

// writeSize writes size and L1 table to the header: one write within one sector.
func (d *Image) writeSize(size int64) error {
	d.head.size = size
	p := d.entryBuf[:24]
	d.head.putResize(p)
	if _, err := d.store.WriteAt(p, offSize); err != nil {
		d.broken = err // the header may or may not name the new table
		return err
	}
	if err := d.store.Sync(); err != nil {
		d.broken = err
		return err
	}
	return nil
}

// growL1 writes a larger L1 table at the end of the file, for the header to name.
func (d *Image) growL1(need int) error {
	if d.broken != nil {
		return d.broken
	}
	n := d.clusters(int64(need) * 8)
	first := d.end.Load()
	if err := d.reserve(first, n); err != nil {
		return err
	}
	// The counts, and what waits for the old table, come to rest first.
	if err := d.writeTables(); err != nil {
		d.unclaim(first, n)
		return err
	}
	table := make([]uint64, need)
	copy(table, d.l1)
	if err := d.writeEntries(first<<d.clusterBits, table); err != nil {
		d.unclaim(first, n)
		return err
	}
	if err := d.store.Sync(); err != nil {
		d.unclaim(first, n)
		return err
	}
	old, oldN := d.head.l1Offset>>d.clusterBits, d.clusters(int64(d.head.l1Size)*8)
	d.addMeta(first, n)
	d.mu.Lock()
	d.l1 = table
	d.mu.Unlock()
	d.head.l1Offset, d.head.l1Size = first<<d.clusterBits, need
	if oldN > 0 {
		d.dropTable(old, oldN)
	}
	return nil
}

// reserve counts n clusters from first, which is the end of the file, as used.
func (d *Image) reserve(first, n int64) error {
	if err := d.blank(first, n); err != nil {
		return err
	}
	for c := first; c < first+n; c++ {
		if own := c >> d.refs.blockBits; own >= int64(len(d.refs.table)) {
			if err := d.growRefTable(own); err != nil {
				return err
			}
		}
		if err := d.count(c); err != nil {
			return err
		}
	}
	d.metaDirty.Store(true)
	return nil
}
