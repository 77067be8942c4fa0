package qcow2

import (
	"encoding/binary"
	"errors"
)

// Discard frees the clusters that lie wholly within n bytes from off. They read as zeroes
// after, or as the backing image where only that was there.
func (d *Image) Discard(off, n int64) error {
	if err := d.writable(off, n); err != nil {
		return err
	}
	first, end := d.wholeClusters(off, n)
	return d.eachSlice(first, end, func(cluster int64, e uint64) (uint64, error) {
		if d.kindOf(e) == kindUnallocated || e == entryZero || (d.version < 3 && d.covered(cluster)) {
			return e, nil
		}
		return d.empty(cluster), nil
	})
}

// empty gives the entry of a cluster that reads as zeroes and takes no place.
func (d *Image) empty(cluster int64) uint64 {
	if d.covered(cluster) {
		return entryZero
	}
	return 0
}

// wholeClusters gives the clusters that lie wholly within a range. The last one counts as
// ending with the disk.
func (d *Image) wholeClusters(off, n int64) (first, end int64) {
	first = d.clusters(off)
	end = (off + n) >> d.clusterBits
	if off+n == d.Size() {
		end = d.clusters(off + n)
	}
	return first, max(first, end)
}

// WriteZeroes makes n bytes from off zeroes. Whole clusters become zero clusters; with
// unmap their place is freed, else it is kept.
func (d *Image) WriteZeroes(off, n int64, unmap bool) error {
	if err := d.writable(off, n); err != nil {
		return err
	}
	return d.zero(off, n, unmap)
}

func (d *Image) zero(off, n int64, unmap bool) error {
	first, end := d.wholeClusters(off, n)
	if first == end { // within one cluster, or the edges of two
		return d.zeroEdges(off, n)
	}
	if err := d.zeroEdges(off, first<<d.clusterBits-off); err != nil {
		return err
	}
	err := d.eachSlice(first, end, func(cluster int64, e uint64) (uint64, error) {
		return d.zeroed(cluster, e, unmap)
	})
	if err != nil {
		return err
	}
	if tail := off + n - end<<d.clusterBits; tail > 0 {
		return d.zeroEdges(end<<d.clusterBits, tail)
	}
	return nil
}

// zeroed gives the entry that makes a cluster zeroes.
func (d *Image) zeroed(cluster int64, e uint64, unmap bool) (uint64, error) {
	kind := d.kindOf(e)
	switch {
	case kind == kindUnallocated && !d.covered(cluster), kind == kindZero && !unmap, e == entryZero:
		return e, nil
	case d.version < 3 && d.covered(cluster):
		return e, errWriteInstead
	case kind == kindData && !unmap && d.version >= 3 && e&entryCopied != 0:
		return e | entryZero, nil
	}
	return d.empty(cluster), nil
}

// errWriteInstead says that a version 2 image has no zero clusters to hide a backing image.
var errWriteInstead = errors.New("zeroes must be written")

// zeroEdges writes zeroes to parts of clusters, but not where zeroes are already.
func (d *Image) zeroEdges(off, n int64) error {
	buf := d.buffers.Get().(*[]byte)
	defer d.buffers.Put(buf)
	clear(*buf)
	for n > 0 {
		part := min(n, d.clusterSize-off&(d.clusterSize-1))
		d.io.RLock()
		ext, err := d.lookup(off, part, true)
		d.io.RUnlock()
		if err != nil {
			return err
		}
		if ext.kind == kindData || ext.kind == kindCompressed || (ext.kind == kindUnallocated && d.covered(off>>d.clusterBits)) {
			if _, err := d.write((*buf)[:part], off); err != nil {
				return err
			}
		}
		off, n = off+part, n-part
	}
	return nil
}

// eachSlice calls change for the entries of clusters first to end, and enters what it
// gives. It lets others in between one slice of a table and the next.
func (d *Image) eachSlice(first, end int64, change func(cluster int64, e uint64) (uint64, error)) error {
	for first < end {
		_, _, at := d.place(first)
		n := min(int64(d.l2.size-at)/8, end-first)
		if err := d.changeSlice(span{first, n}, change); err != nil {
			return err
		}
		first += n
	}
	return nil
}

func (d *Image) changeSlice(s span, change func(cluster int64, e uint64) (uint64, error)) error {
	d.alloc.Lock()
	defer d.alloc.Unlock()
	d.await(s)
	if err := d.makeRoom(); err != nil {
		return err
	}
	for c := s.first; c < s.first+s.n; c++ {
		e, err := d.entry(c)
		if err != nil {
			return err
		}
		now, err := change(c, e)
		if errors.Is(err, errWriteInstead) {
			if err := d.zeroByHand(c); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if now == e {
			continue
		}
		if err := d.ownTable(c); err != nil {
			return err
		}
		if _, err := d.setEntry(c, now); err != nil {
			return err
		}
		d.giveUp(e, now)
	}
	return nil
}

// zeroByHand writes a cluster of zeroes, with alloc given up meanwhile.
func (d *Image) zeroByHand(cluster int64) error {
	d.alloc.Unlock()
	defer d.alloc.Lock()
	off := cluster << d.clusterBits
	return d.zeroEdges(off, min(d.clusterSize, d.Size()-off))
}

// entry gives a guest cluster's L2 entry, with what a shared table implies. alloc is held.
func (d *Image) entry(cluster int64) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, table, at := d.place(cluster)
	l2 := int64(d.l1[i] & entryOffset)
	if l2 == 0 {
		return 0, nil
	}
	if err := d.checkTable("L2 table", i, l2); err != nil {
		return 0, err
	}
	s, err := d.l2.get(l2 + table)
	if err != nil {
		return 0, err
	}
	e := binary.BigEndian.Uint64(s.data[at:])
	if d.l1[i]&entryCopied == 0 {
		e &^= entryCopied
	}
	if d.kindOf(e) != kindCompressed && int64(e&entryOffset)&(d.clusterSize-1) != 0 {
		return 0, corrupt("cluster at offset %#x", e&entryOffset)
	}
	return e, nil
}
