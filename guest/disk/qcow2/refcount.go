package qcow2

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// refOffset is the part of a reference count table entry that is an offset.
const refOffset = ^uint64(1<<9 - 1)

// refcounts are the reference counts of the file's clusters: a table of blocks of counts.
// All is guarded by the image's alloc.
type refcounts struct {
	store       Storage
	order       uint // a count has 1<<order bits
	blockBits   uint // a block has 1<<blockBits counts
	clusterBits uint
	offset      int64 // of the table as the file has it
	clusters    int
	table       []uint64
	dirty       []int // entries changed since they were written
	moved       bool  // the whole table is to be written at offset, and the header to follow
	cache       *cache
	hint        int64 // no cluster below it is free
}

func (r *refcounts) init(store Storage, h *header, cacheSize int) {
	*r = refcounts{
		store: store, order: h.refOrder, blockBits: h.clusterBits + 3 - h.refOrder, clusterBits: h.clusterBits,
		offset: h.refTableOffset, clusters: h.refTableLen,
		cache: newCache(store, h.clusterSize(), cacheSize),
	}
}

func (r *refcounts) load() (err error) {
	r.table, err = loadTable(r.store, r.offset, r.clusters<<r.clusterBits/8)
	return err
}

// find gives the slice that holds a cluster's count and the count's index in it; nil if no
// block covers the cluster.
func (r *refcounts) find(cluster int64) (*slice, int, error) {
	b := cluster >> r.blockBits
	if b >= int64(len(r.table)) || r.table[b]&refOffset == 0 {
		return nil, 0, nil
	}
	bit := (cluster & (1<<r.blockBits - 1)) << r.order
	byteOff := bit >> 3
	at := byteOff &^ int64(r.cache.size-1)
	s, err := r.cache.get(int64(r.table[b]&refOffset) + at)
	return s, int((bit - at<<3) >> r.order), err
}

// get gives a cluster's count; what no block covers has 0.
func (r *refcounts) get(cluster int64) (uint64, error) {
	s, i, err := r.find(cluster)
	if err != nil || s == nil {
		return 0, err
	}
	return countAt(s.data, i, r.order), nil
}

// set changes a cluster's count. A block must cover it.
func (r *refcounts) set(cluster int64, count uint64) error {
	s, i, err := r.find(cluster)
	if err != nil {
		return err
	}
	if s == nil {
		return corrupt("no reference count block for cluster %d", cluster)
	}
	putCount(s.data, i, r.order, count)
	r.cache.touch(s)
	return nil
}

// countAt gives count number i of a block's piece. Counts of less than a byte begin at its
// lowest bit; larger ones are big-endian.
func countAt(p []byte, i int, order uint) uint64 {
	switch order {
	case 3:
		return uint64(p[i])
	case 4:
		return uint64(binary.BigEndian.Uint16(p[2*i:]))
	case 5:
		return uint64(binary.BigEndian.Uint32(p[4*i:]))
	case 6:
		return binary.BigEndian.Uint64(p[8*i:])
	}
	bit := uint(i) << order
	return uint64(p[bit>>3]>>(bit&7)) & (1<<(1<<order) - 1)
}

func putCount(p []byte, i int, order uint, v uint64) {
	switch order {
	case 3:
		p[i] = byte(v)
	case 4:
		binary.BigEndian.PutUint16(p[2*i:], uint16(v))
	case 5:
		binary.BigEndian.PutUint32(p[4*i:], uint32(v))
	case 6:
		binary.BigEndian.PutUint64(p[8*i:], v)
	default:
		bit := uint(i) << order
		mask := byte(1<<(1<<order)-1) << (bit & 7)
		p[bit>>3] = p[bit>>3]&^mask | byte(v)<<(bit&7)&mask
	}
}

// allocate takes up to want free clusters that lie together and gives them a count of one,
// in memory; Flush writes that before any table that uses them. fresh tells that they were
// never in use, so that they read as zeroes. It is called with alloc held.
func (d *Image) allocate(want int64) (first, n int64, fresh bool, err error) {
	if d.refs.cache.crowded() {
		if err := d.writeTables(); err != nil {
			return 0, 0, false, err
		}
	}
	end := d.end.Load()
	for n == 0 { // again only where a block for the counts took the place
		if first, err = d.findFree(); err == nil {
			n, err = d.claimRun(first, want)
		}
		if err != nil {
			return 0, 0, false, err
		}
	}
	fresh = first >= end && !d.store.Device()
	d.refs.hint = first + n
	d.metaDirty.Store(true)
	if d.overTables(first, n) {
		d.unclaim(first, n)
		return 0, 0, false, corrupt("the reference counts call tables at %#x free: repair it with qemu-img check -r all", first<<d.clusterBits)
	}
	return first, n, fresh, nil
}

// claimRun claims up to want clusters from first on, and tells how many were free.
func (d *Image) claimRun(first, want int64) (n int64, err error) {
	for n < want {
		fits, err := d.claim(first + n)
		if err != nil {
			d.unclaim(first, n)
			return 0, err
		}
		if !fits {
			break
		}
		n++
		d.extend(first + n) // a block for the next must not take this place
	}
	return n, nil
}

func (d *Image) overTables(first, n int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.meta.overlaps(first, n)
}

// extend moves the end of what is in use.
func (d *Image) extend(end int64) {
	if end > d.end.Load() {
		d.end.Store(end)
		d.grown = true
	}
}

// findFree gives the first free cluster. A crash may have left counts for clusters past the
// end of the file; they are passed over, as leaks.
func (d *Image) findFree() (int64, error) {
	for c := d.refs.hint; ; c++ {
		if n, err := d.refs.get(c); err != nil || n == 0 {
			return c, err
		}
	}
}

// claim counts cluster c as used if it is free. It gives false if it is not, or if the
// block that had to be made for it is in its place.
func (d *Image) claim(c int64) (bool, error) {
	r := &d.refs
	if c >= maxSize>>d.clusterBits {
		return false, fmt.Errorf("qcow2: the file would outgrow the format: %w", unix.EFBIG)
	}
	if b := c >> r.blockBits; b >= int64(len(r.table)) || r.table[b]&refOffset == 0 {
		if err := d.addBlock(b); err != nil {
			return false, err
		}
	}
	n, err := r.get(c)
	if err != nil || n != 0 {
		return false, err
	}
	return true, r.set(c, 1)
}

// unclaim takes back clusters that nothing refers to yet.
func (d *Image) unclaim(first, n int64) {
	for c := first; c < first+n; c++ {
		// The count was just changed, so its slice is in memory. At the worst it leaks.
		_ = d.refs.set(c, 0)
	}
	d.refs.hint = min(d.refs.hint, first)
}

func (d *Image) addMeta(first, n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.meta.add(first, n)
}

// dropTable gives up a table's clusters once the tables that replace it are durable.
func (d *Image) dropTable(first, n int64) {
	d.mu.Lock()
	d.meta.remove(first, n)
	d.mu.Unlock()
	for c := first; c < first+n; c++ {
		d.pending = append(d.pending, c)
	}
}

// lastUsed gives the last cluster that is counted as used.
func (r *refcounts) lastUsed() (int64, error) {
	for b := len(r.table) - 1; b >= 0; b-- {
		if r.table[b]&refOffset == 0 {
			continue
		}
		first := int64(b) << r.blockBits
		for c := first + 1<<r.blockBits - 1; c >= first; c-- {
			if n, err := r.get(c); err != nil || n != 0 {
				return c, err
			}
		}
	}
	return 0, corrupt("no cluster is counted as used")
}
