package qcow2

import (
	"encoding/binary"
	"fmt"
)

// maxMessages bounds how many faults a report spells out.
const maxMessages = 20

// Report is what Check found.
type Report struct {
	Clusters int64    // of the file in use
	Leaks    int64    // clusters counted more often than they are used: space lost, no more
	Errors   int64    // faults that can lose data
	Messages []string // the first of the errors
}

// Check goes through all tables of the image in store, snapshots with it, and compares
// them with the reference counts. It changes nothing. An error is one of reading; faults
// of the image are in the report.
func Check(store Storage) (Report, error) {
	h, fileSize, err := readHeader(store)
	if err != nil {
		return Report{}, err
	}
	c := newChecker(store, h, fileSize)
	if err := c.walk(); err != nil {
		return Report{}, err
	}
	err = c.eachCount(c.compare)
	return c.report, err
}

// What a check counts in: pages of countPage clusters, of 1 KiB each, and at most 512 MiB
// of them, which is enough for 8 TiB in clusters of 64 KiB.
const (
	countPage = 256
	maxPages  = 512 << 10
)

// checker counts anew how often each cluster is referred to.
type checker struct {
	store    Storage
	h        *header
	end      int64 // clusters of the file
	report   Report
	counts   map[int64]*[countPage]uint32
	refs     refcounts
	active   []tableRef // L2 tables of the active L1 table
	tableBuf []byte
	tooMany  bool // clusters to count
}

// tableRef is an L2 table, whose "copied" flags can be judged once all is counted.
type tableRef struct {
	off    int64
	copied bool
}

func newChecker(store Storage, h *header, fileSize int64) *checker {
	c := &checker{
		store: store, h: h, end: (fileSize + h.clusterSize() - 1) >> h.clusterBits,
		counts: make(map[int64]*[countPage]uint32), tableBuf: make([]byte, h.clusterSize()),
	}
	c.refs.init(store, h, 0)
	return c
}

func (c *checker) fault(format string, args ...any) {
	c.report.Errors++
	if len(c.report.Messages) < maxMessages {
		c.report.Messages = append(c.report.Messages, fmt.Sprintf(format, args...))
	}
}

// use counts a reference to n bytes at off, and tells whether they lie in the file.
func (c *checker) use(what string, off, n int64) bool {
	first, last := off>>c.h.clusterBits, (off+n-1)>>c.h.clusterBits
	if off < 0 || n < 0 || last >= c.end {
		c.fault("%s at %#x: past the end of the file", what, off)
		return false
	}
	for cl := first; cl <= last; cl++ {
		page := c.counts[cl/countPage]
		if page == nil {
			if len(c.counts) == maxPages {
				c.tooMany = true
				return false
			}
			page = new([countPage]uint32)
			c.counts[cl/countPage] = page
		}
		if page[cl%countPage]++; page[cl%countPage] == 1 {
			c.report.Clusters++
		}
	}
	return true
}

func (c *checker) used(cluster int64) uint64 {
	if page := c.counts[cluster/countPage]; page != nil {
		return uint64(page[cluster%countPage])
	}
	return 0
}

// useTable counts a table of one cluster; it tells whether it may be read, which it may
// once: a table in two places of the same kind is a fault, and would make checks endless.
func (c *checker) useTable(what string, off int64, shared bool) bool {
	if off&(c.h.clusterSize()-1) != 0 {
		c.fault("%s at %#x: not on a cluster", what, off)
		return false
	}
	if !c.use(what, off, c.h.clusterSize()) {
		return false
	}
	if c.used(off>>c.h.clusterBits) > 1 && !shared {
		c.fault("%s at %#x: the cluster is used twice", what, off)
		return false
	}
	return true
}

func (c *checker) walk() error {
	h := c.h
	c.use("header", 0, h.clusterSize())
	c.use("reference count table", h.refTableOffset, int64(h.refTableLen)<<h.clusterBits)
	if err := c.refs.load(); err != nil {
		return err
	}
	for i, e := range c.refs.table {
		off := int64(e & refOffset)
		if off != 0 && !c.useTable("reference count block", off, false) {
			c.refs.table[i] = 0
		}
	}
	if err := c.walkL1(h.l1Offset, h.l1Size, true); err != nil {
		return err
	}
	if err := c.walkSnapshots(); err != nil {
		return err
	}
	if err := c.walkBitmaps(); err != nil {
		return err
	}
	if c.tooMany {
		return unsupported("a check of so many clusters: use qemu-img check")
	}
	return c.judgeFlags()
}

// judgeFlags compares the "copied" flags of the active tables with what was counted.
func (c *checker) judgeFlags() error {
	for _, l2 := range c.active {
		c.judge(l2.off, l2.copied)
		if err := readFull(c.store, c.tableBuf, l2.off); err != nil {
			return err
		}
		for p := c.tableBuf; len(p) > 0; p = p[8:] {
			e := binary.BigEndian.Uint64(p)
			if off := int64(e & entryOffset); e&entryCompressed == 0 && off != 0 {
				c.judge(off, e&entryCopied != 0)
			}
		}
	}
	return nil
}

func (c *checker) judge(off int64, copied bool) {
	if n := c.used(off >> c.h.clusterBits); copied != (n == 1) {
		c.fault("cluster at %#x: its copied flag is %v but it is used %d times", off, copied, n)
	}
}

// walkL1 counts what an L1 table refers to. Only the active one has flags that hold.
func (c *checker) walkL1(off int64, n int, active bool) error {
	if n == 0 {
		return nil
	}
	if !c.use("L1 table", off, int64(n)*8) {
		return nil
	}
	l1, err := loadTable(c.store, off, n)
	if err != nil {
		return err
	}
	seen := make(map[int64]bool)
	for _, e := range l1 {
		l2 := int64(e & entryOffset)
		if l2 == 0 {
			continue
		}
		if !c.useTable("L2 table", l2, !active) {
			continue
		}
		if seen[l2] {
			c.fault("L2 table at %#x: one L1 table has it twice", l2)
			continue
		}
		seen[l2] = true
		if active {
			c.active = append(c.active, tableRef{l2, e&entryCopied != 0})
		}
		if err := c.walkL2(l2); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) walkL2(off int64) error {
	if err := readFull(c.store, c.tableBuf, off); err != nil {
		return err
	}
	for p := c.tableBuf; len(p) > 0; p = p[8:] {
		c.entry(binary.BigEndian.Uint64(p))
	}
	return nil
}

func (c *checker) entry(e uint64) {
	if e&entryCompressed != 0 {
		d := Image{clusterBits: c.h.clusterBits}
		off, n := d.packedRange(e)
		// The last sector may end past the file, as its unused part is not written.
		last := min(off+n, max(c.end<<c.h.clusterBits, off+1))
		c.use("compressed cluster", off, last-off)
		if e&entryCopied != 0 {
			c.fault("compressed cluster at %#x: its copied flag is set", off)
		}
		return
	}
	if e&entryZero != 0 && c.h.version < 3 {
		c.fault("zero cluster in a version 2 image")
		return
	}
	off := int64(e & entryOffset)
	if off == 0 {
		return
	}
	if off&(c.h.clusterSize()-1) != 0 {
		c.fault("data at %#x: not on a cluster", off)
		return
	}
	c.use("data", off, c.h.clusterSize())
}

// walkSnapshots counts the snapshot table and what each snapshot holds (specification,
// "Snapshots").
func (c *checker) walkSnapshots() error {
	if c.h.snapshots == 0 {
		return nil
	}
	off := c.h.snapshotOffset
	for range c.h.snapshots {
		var p [40]byte
		if err := readFull(c.store, p[:], off); err != nil {
			return err
		}
		be := binary.BigEndian
		l1, n := be.Uint64(p[:]), be.Uint32(p[8:])
		size := int64(40) + int64(be.Uint32(p[36:])) + int64(be.Uint16(p[12:])) + int64(be.Uint16(p[14:]))
		if n > maxL1Bytes/8 || l1 >= maxSize || off+size > c.end<<c.h.clusterBits {
			c.fault("snapshot at %#x: its sizes cannot be", off)
			return nil
		}
		if err := c.walkL1(int64(l1), int(n), false); err != nil {
			return err
		}
		off += (size + 7) &^ 7
	}
	c.use("snapshot table", c.h.snapshotOffset, off-c.h.snapshotOffset)
	return nil
}

// eachCount calls f for each cluster that has a count or is used.
func (c *checker) eachCount(f func(cluster int64, counted, used uint64) error) error {
	r := &c.refs
	for b, e := range r.table {
		if e&refOffset == 0 {
			continue
		}
		first := int64(b) << r.blockBits
		for cl := first; cl < first+1<<r.blockBits; cl++ {
			counted, err := r.get(cl)
			if err != nil {
				return err
			}
			if used := c.used(cl); counted != used {
				if err := f(cl, counted, used); err != nil {
					return err
				}
			}
		}
	}
	return c.eachUncovered(f)
}

// eachUncovered calls f for the clusters that are used and that no block counts.
func (c *checker) eachUncovered(f func(cluster int64, counted, used uint64) error) error {
	r := &c.refs
	for page, counts := range c.counts {
		for i, used := range counts {
			cl := page*countPage + int64(i)
			if b := cl >> r.blockBits; used == 0 || (b < int64(len(r.table)) && r.table[b]&refOffset != 0) {
				continue
			}
			if err := f(cl, 0, uint64(used)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *checker) compare(cluster int64, counted, used uint64) error {
	if counted > used {
		c.report.Leaks++
	} else {
		c.fault("cluster at %#x: used %d times, counted %d", cluster<<c.h.clusterBits, used, counted)
	}
	return nil
}
