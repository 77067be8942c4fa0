package qcow2

import (
	"encoding/binary"
	"slices"
)

// maxPending bounds how many clusters wait to be given up before the tables are written
// for their sake alone.
const maxPending = 16384

// WriteAt writes p at off, all of it or an error.
func (d *Image) WriteAt(p []byte, off int64) (int, error) {
	if err := d.writable(off, int64(len(p))); err != nil {
		return 0, err
	}
	return d.write(p, off)
}

func (d *Image) write(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := d.writeInPlace(p[done:], off+int64(done))
		if n == 0 && err == nil {
			n, err = d.writeNew(p[done:], off+int64(done))
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// writeInPlace writes the first run of p if its clusters are there and ours alone; else it
// gives 0.
func (d *Image) writeInPlace(p []byte, off int64) (int, error) {
	d.io.RLock()
	defer d.io.RUnlock()
	ext, err := d.lookup(off, int64(len(p)), true)
	if err != nil || ext.kind != kindData || !ext.copied {
		return 0, err
	}
	return d.store.WriteAt(p[:ext.n], ext.host)
}

// writeNew writes the beginning of p to clusters that it takes: one that is covered in
// part, the rest copied from what it read as before, or a run of whole ones. It gives 0
// if somebody else has just done so.
func (d *Image) writeNew(p []byte, off int64) (int, error) {
	d.alloc.Lock()
	defer d.alloc.Unlock()
	job, err := d.begin(p, off)
	if err != nil || job.span.n == 0 {
		return 0, err
	}
	d.writing = append(d.writing, job.span)
	// The clusters that are copied from must stay until they were.
	d.io.RLock()
	d.alloc.Unlock()
	err = d.fill(&job, p, off)
	d.io.RUnlock()
	d.alloc.Lock()
	if err == nil {
		err = d.link(&job)
	}
	if err != nil && !job.kept {
		d.unclaim(job.host, job.span.n)
	}
	d.done(job.span)
	return job.n, err
}

// job is one writeNew under way.
type job struct {
	span  span
	host  int64  // the first cluster in the file
	n     int    // bytes of the request
	ext   extent // what a lone cluster read as before
	whole bool   // the request covers the clusters
	fresh bool   // the clusters read as zeroes
	kept  bool   // the place is one that a zero cluster kept
}

// begin settles what is to be written, and takes the clusters for it.
func (d *Image) begin(p []byte, off int64) (job, error) {
	cluster := off >> d.clusterBits
	d.await(span{cluster, 1})
	if err := d.makeRoom(); err != nil {
		return job{}, err
	}
	start := cluster << d.clusterBits
	ext, err := d.lookup(start, d.clusterSize, true)
	if err != nil || (ext.kind == kindData && ext.copied) {
		return job{}, err
	}
	j := job{span: span{cluster, 1}, ext: ext}
	j.n = int(min(int64(len(p)), start+d.clusterSize-off))
	j.whole = j.n == int(d.clusterSize)
	if err := d.ownTable(cluster); err != nil {
		return job{}, err
	}
	if ext.kind == kindZero && ext.copied && ext.host != 0 {
		j.host, j.kept = ext.host>>d.clusterBits, true
		return j, nil
	}
	want := int64(1)
	if j.whole {
		if want, err = d.wholeRun(cluster, int64(len(p))>>d.clusterBits); err != nil {
			return job{}, err
		}
	}
	j.host, j.span.n, j.fresh, err = d.allocate(want)
	if j.whole {
		j.n = int(j.span.n << d.clusterBits)
	}
	return j, err
}

// wholeRun tells how many clusters, up to most, can be taken together: those that have no
// place at all, in one slice of one L2 table, and nobody at work on them.
func (d *Image) wholeRun(cluster, most int64) (int64, error) {
	ext, err := d.lookup(cluster<<d.clusterBits, most<<d.clusterBits, true)
	if err != nil || ext.host != 0 || (ext.kind != kindUnallocated && ext.kind != kindZero) {
		return 1, err
	}
	n := max(ext.n>>d.clusterBits, 1)
	for _, s := range d.writing {
		if s.first > cluster && s.first < cluster+n {
			n = s.first - cluster
		}
	}
	return n, nil
}

// await waits until nobody is at work on any of the clusters. alloc is held, and given up
// while it waits.
func (d *Image) await(s span) {
	for slices.ContainsFunc(d.writing, func(w span) bool { return w.first < s.first+s.n && s.first < w.first+w.n }) {
		d.settled.Wait()
	}
}

func (d *Image) done(s span) {
	i := slices.Index(d.writing, s)
	d.writing = slices.Delete(d.writing, i, i+1)
	d.settled.Broadcast()
}

// makeRoom writes the tables when much of them waits in memory.
func (d *Image) makeRoom() error {
	if d.broken != nil {
		return d.broken
	}
	d.mu.Lock()
	crowded := d.l2.crowded()
	d.mu.Unlock()
	if crowded || len(d.pending) >= maxPending {
		return d.writeTables()
	}
	return nil
}

// fill writes a job's data: what the request has and, round it, what the cluster read as.
func (d *Image) fill(j *job, p []byte, off int64) error {
	at := j.host << d.clusterBits
	inside := off & (d.clusterSize - 1)
	blank := j.ext.kind == kindZero || (j.ext.kind == kindUnallocated && !d.covered(j.span.first))
	if j.whole || (j.fresh && blank) {
		_, err := d.store.WriteAt(p[:j.n], at+inside)
		return err
	}
	buf := d.buffers.Get().(*[]byte)
	defer d.buffers.Put(buf)
	if err := d.readOld(j, *buf); err != nil {
		return err
	}
	copy((*buf)[inside:], p[:j.n])
	_, err := d.store.WriteAt(*buf, at)
	return err
}

// readOld reads what a lone cluster was, but zeroes for what lies past the disk's end, so
// that nothing comes to light there when the disk grows.
func (d *Image) readOld(j *job, buf []byte) error {
	start := j.span.first << d.clusterBits
	n := min(d.Size()-start, d.clusterSize)
	clear(buf[n:])
	ext := j.ext
	ext.n = n
	return d.readExtent(ext, buf[:n], start)
}

// link enters a job's clusters in the L2 table, and gives up those that they replace.
func (d *Image) link(j *job) error {
	if err := d.ownTable(j.span.first); err != nil {
		return err
	}
	for i := range j.span.n {
		e := uint64((j.host+i)<<d.clusterBits) | entryCopied
		old, err := d.setEntry(j.span.first+i, e)
		if err != nil {
			// The first entry's slice could not be read; the rest are in the same one.
			return err
		}
		d.giveUp(old, e)
	}
	return nil
}

// setEntry changes a guest cluster's entry in an L2 table that is ours alone.
func (d *Image) setEntry(cluster int64, e uint64) (old uint64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, table, at := d.place(cluster)
	s, err := d.l2.get(int64(d.l1[i]&entryOffset) + table)
	if err != nil {
		return 0, err
	}
	old = binary.BigEndian.Uint64(s.data[at:])
	binary.BigEndian.PutUint64(s.data[at:], e)
	d.l2.touch(s)
	d.metaDirty.Store(true)
	return old, nil
}

// giveUp drops the references that an old entry held and the new one does not.
func (d *Image) giveUp(old, now uint64) {
	if old&entryCompressed != 0 {
		off, n := d.packedRange(old)
		for c := off >> d.clusterBits; c <= (off+n-1)>>d.clusterBits; c++ {
			d.pending = append(d.pending, c)
		}
		return
	}
	if off := old & entryOffset; off != 0 && (now&entryCompressed != 0 || off != now&entryOffset) {
		d.pending = append(d.pending, int64(off)>>d.clusterBits)
	}
}

// ownTable sees to it that the L2 table that maps a cluster is there and ours alone. alloc
// is held.
func (d *Image) ownTable(cluster int64) error {
	i, _, _ := d.place(cluster)
	e := d.l1[i] // changed with alloc held only
	old := int64(e & entryOffset)
	if old != 0 && e&entryCopied != 0 {
		return nil
	}
	c, _, fresh, err := d.allocate(1)
	if err != nil {
		return err
	}
	at := c << d.clusterBits
	switch {
	case old != 0:
		err = d.copyTable(old, at)
	case !fresh:
		err = d.store.Zero(at, d.clusterSize, false)
	}
	if err != nil {
		d.unclaim(c, 1)
		return err
	}
	d.mu.Lock()
	d.l2.drop(at, d.clusterSize)
	d.l1[i] = uint64(at) | entryCopied
	d.meta.add(c, 1)
	d.mu.Unlock()
	d.l1Dirty = append(d.l1Dirty, i)
	if old != 0 {
		d.dropTable(old>>d.clusterBits, 1)
	}
	return nil
}

// copyTable makes a copy of an L2 table that a snapshot holds too. All that it maps is
// shared as well, whatever its entries say.
func (d *Image) copyTable(from, to int64) error {
	if from>>d.clusterBits >= d.end.Load() || from&(d.clusterSize-1) != 0 {
		return corrupt("L2 table at offset %#x", from)
	}
	buf := d.buffers.Get().(*[]byte)
	defer d.buffers.Put(buf)
	if err := readFull(d.store, *buf, from); err != nil {
		return err
	}
	for p := *buf; len(p) > 0; p = p[8:] {
		binary.BigEndian.PutUint64(p, binary.BigEndian.Uint64(p)&^entryCopied)
	}
	_, err := d.store.WriteAt(*buf, to)
	return err
}
