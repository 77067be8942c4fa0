package qcow2

import (
	"encoding/binary"
	"slices"
)

// Flush makes all writes that completed before it durable.
func (d *Image) Flush() error {
	if d.readOnly {
		return nil
	}
	if !d.metaDirty.Load() {
		return d.store.Sync()
	}
	d.alloc.Lock()
	defer d.alloc.Unlock()
	return d.writeTables()
}

// writeTables writes what changed in the tables, in the order that the package comment
// gives, and makes it durable with all data written before. Then it gives up the clusters
// that waited for that. alloc is held.
func (d *Image) writeTables() error {
	if d.broken != nil {
		return d.broken
	}
	if err := d.writeInOrder(); err != nil {
		return err
	}
	// Not before all is durable, as Flush takes it to say so. Who sets it has alloc.
	d.metaDirty.Store(false)
	return d.release()
}

func (d *Image) writeInOrder() error {
	if err := d.writeRefs(); err != nil {
		return err
	}
	// Here the data is durable, and every cluster that is referred to below is counted.
	if err := d.store.Sync(); err != nil {
		return err
	}
	wrote, err := d.writeL2()
	if err != nil {
		return err
	}
	if wrote || len(d.l1Dirty) > 0 {
		if err := d.store.Sync(); err != nil {
			return err
		}
	}
	return d.writeL1()
}

// writeRefs writes the reference counts: blocks, then the table that leads to new blocks,
// then the header that leads to a new table.
func (d *Image) writeRefs() error {
	if err := d.lengthen(); err != nil {
		return err
	}
	r := &d.refs
	d.scratch = r.cache.appendDirty(d.scratch[:0])
	for _, s := range d.scratch {
		if _, err := d.store.WriteAt(s.data, s.off); err != nil {
			return err
		}
		r.cache.clean(s)
	}
	if len(r.dirty) == 0 && !r.moved {
		return nil
	}
	if r.moved {
		if err := d.writeEntries(r.offset, r.table); err != nil {
			return err
		}
	}
	if err := d.store.Sync(); err != nil {
		return err
	}
	if r.moved {
		return d.moveRefTable()
	}
	for _, i := range r.dirty {
		if err := d.writeEntries(r.offset+int64(i)*8, r.table[i:i+1]); err != nil {
			return err
		}
	}
	r.dirty = r.dirty[:0]
	return nil
}

// moveRefTable points the header at the table's new place.
func (d *Image) moveRefTable() error {
	r := &d.refs
	d.head.refTableOffset, d.head.refTableLen = r.offset, r.clusters
	p := d.entryBuf[:12]
	d.head.putRefTable(p)
	if _, err := d.store.WriteAt(p, offRefTable); err != nil {
		return err
	}
	r.moved, r.dirty = false, r.dirty[:0]
	return nil
}

// lengthen makes the file as long as what is in use, so that no table ends past its end.
func (d *Image) lengthen() error {
	if !d.grown || d.store.Device() {
		return nil
	}
	want := d.end.Load() << d.clusterBits
	have, err := d.store.Size()
	if err != nil {
		return err
	}
	if have < want {
		if err := d.store.Truncate(want); err != nil {
			return err
		}
	}
	d.grown = false
	return nil
}

// writeEntries writes table entries at off.
func (d *Image) writeEntries(off int64, entries []uint64) error {
	if len(entries) == 1 {
		p := d.entryBuf[:8]
		binary.BigEndian.PutUint64(p, entries[0])
		_, err := d.store.WriteAt(p, off)
		return err
	}
	buf := make([]byte, 0, min(len(entries)*8, 64<<10))
	for len(entries) > 0 {
		n := min(len(entries), cap(buf)/8)
		for _, e := range entries[:n] {
			buf = binary.BigEndian.AppendUint64(buf, e)
		}
		if _, err := d.store.WriteAt(buf, off); err != nil {
			return err
		}
		entries, off, buf = entries[n:], off+int64(len(buf)), buf[:0]
	}
	return nil
}

// writeL2 writes the L2 slices that changed. They change with alloc held only, and stay in
// the cache while they are dirty, so mu need not be held while they are written.
func (d *Image) writeL2() (wrote bool, err error) {
	d.mu.Lock()
	d.scratch = d.l2.appendDirty(d.scratch[:0])
	d.mu.Unlock()
	for _, s := range d.scratch {
		if _, err := d.store.WriteAt(s.data, s.off); err != nil {
			return false, err
		}
	}
	d.mu.Lock()
	for _, s := range d.scratch {
		d.l2.clean(s)
	}
	d.mu.Unlock()
	return len(d.scratch) > 0, nil
}

func (d *Image) writeL1() error {
	if len(d.l1Dirty) == 0 {
		return nil
	}
	for _, i := range d.l1Dirty {
		if err := d.writeEntries(d.head.l1Offset+int64(i)*8, d.l1[i:i+1]); err != nil {
			return err
		}
	}
	if err := d.store.Sync(); err != nil {
		return err
	}
	d.l1Dirty = d.l1Dirty[:0]
	return nil
}

// release counts down the clusters that no durable table refers to any more. Those that
// nobody uses then are given back to the host, and are free to be taken again.
func (d *Image) release() error {
	if len(d.pending) == 0 {
		return nil
	}
	// Whoever looked one of them up before it was replaced may still be at it.
	d.io.Lock()
	defer d.io.Unlock()
	d.forget()
	slices.Sort(d.pending)
	d.metaDirty.Store(true)
	free := span{}
	for i, c := range d.pending {
		n, err := d.refs.get(c)
		if err == nil && (n == 0 || d.overTables(c, 1)) {
			err = corrupt("the cluster at %#x is in use but counted as free, or lies under a table: repair it with qemu-img check -r all", c<<d.clusterBits)
		}
		if err == nil {
			err = d.refs.set(c, n-1)
		}
		if err == nil && d.refs.cache.crowded() {
			err = d.writeRefs() // lower counts may be durable at any time from here
		}
		if err != nil {
			d.pending = append(d.pending[:0], d.pending[i+1:]...) // c leaks
			return err
		}
		if n > 1 {
			continue
		}
		d.refs.hint = min(d.refs.hint, c)
		if c != free.first+free.n {
			d.punch(free)
			free = span{c, 0}
		}
		free.n++
	}
	d.punch(free)
	d.pending = d.pending[:0]
	return nil
}

// punch gives free clusters back to the host. Where it cannot, they are kept for reuse.
func (d *Image) punch(s span) {
	if s.n > 0 {
		_, _ = d.store.Punch(s.first<<d.clusterBits, s.n<<d.clusterBits)
	}
}
