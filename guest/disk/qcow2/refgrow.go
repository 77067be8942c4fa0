package qcow2

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// addBlock makes block b of the reference counts, at the end of the file. The block that
// covers the new block's own place comes first, if it is another; where it is the same,
// the block counts itself.
func (d *Image) addBlock(b int64) error {
	r := &d.refs
	for {
		c := d.end.Load()
		if own := c >> r.blockBits; max(own, b) >= int64(len(r.table)) {
			if err := d.growRefTable(max(own, b)); err != nil {
				return err
			}
		} else if own == b || r.table[own]&refOffset != 0 {
			break
		} else if err := d.addBlock(own); err != nil {
			return err
		}
	}
	if r.table[b]&refOffset != 0 {
		return nil // made on the way
	}
	c := d.end.Load()
	if err := d.blank(c, 1); err != nil {
		return err
	}
	r.table[b] = uint64(c << d.clusterBits)
	if err := r.set(c, 1); err != nil {
		r.table[b] = 0
		return err
	}
	r.dirty = append(r.dirty, int(b))
	d.addMeta(c, 1)
	return nil
}

// blank makes n clusters from c, at the end of the file, read as zeroes and belong to it.
func (d *Image) blank(c, n int64) error {
	if d.store.Device() {
		if err := d.store.Zero(c<<d.clusterBits, n<<d.clusterBits, false); err != nil {
			return err
		}
	}
	d.refs.cache.drop(c<<d.clusterBits, n<<d.clusterBits)
	d.extend(c + n)
	d.metaDirty.Store(true)
	return nil
}

// growRefTable moves the table of blocks to a larger place at the end of the file, so that
// it has block b and more. Flush writes it there, and then the header.
func (d *Image) growRefTable(b int64) error {
	r := &d.refs
	perCluster := d.clusterSize / 8
	entries := max(b+2, int64(len(r.table))*3/2)
	n := (entries + perCluster - 1) / perCluster
	if n<<d.clusterBits > max(maxRefTable, d.clusterSize) {
		return fmt.Errorf("qcow2: the file would outgrow its table of reference counts; larger clusters allow more: %w", unix.EFBIG)
	}
	old, oldN := r.offset>>d.clusterBits, int64(r.clusters)
	first := d.end.Load()
	if err := d.blank(first, n); err != nil {
		return err
	}
	// The blocks for the new table's own clusters are entered in it too.
	table := make([]uint64, n*perCluster)
	copy(table, r.table)
	r.table, r.offset, r.clusters, r.moved, r.dirty = table, first<<d.clusterBits, int(n), true, r.dirty[:0]
	for c := first; c < first+n; c++ {
		if err := d.count(c); err != nil {
			// Half a table must never be written.
			d.broken = err
			return err
		}
	}
	d.addMeta(first, n)
	d.dropTable(old, oldN)
	return nil
}

// count counts a table's cluster as used, and makes the block for that if it must.
func (d *Image) count(c int64) error {
	if own := c >> d.refs.blockBits; d.refs.table[own]&refOffset == 0 {
		if err := d.addBlock(own); err != nil {
			return err
		}
	}
	return d.refs.set(c, 1)
}
