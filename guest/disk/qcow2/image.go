package qcow2

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gureum/gureum/guest/disk/internal/host"
)

// defaultCache bounds the memory for L2 tables, in bytes: at 64 KiB a cluster that maps
// 32 GiB. Reference counts get a quarter of it.
const defaultCache = 4 << 20

// Config says what an image is opened with.
type Config struct {
	ReadOnly  bool
	CacheSize int // bytes of L2 tables to keep; 0 for the default of 4 MiB
	// OpenBacking opens the backing image that the header names, with the format that it
	// names, "" if none. Nil refuses images that have one.
	OpenBacking func(name, format string) (Backing, error)
}

// Image is an open qcow2 image. Its methods may be called from several goroutines, but
// none after Close has begun.
type Image struct {
	store    Storage
	backing  Backing // or nil
	readOnly bool
	size     atomic.Int64
	end      atomic.Int64 // the first cluster past all in use; changed with alloc held

	clusterBits uint
	clusterSize int64
	version     uint32
	compression uint8

	alloc    sync.Mutex // see the package comment
	settled  sync.Cond  // on alloc: a span of writing was done
	writing  []span     // clusters whose first data is on its way
	refs     refcounts
	pending  []int64 // clusters to give up once the tables without them are durable
	l1Dirty  []int   // entries changed since they were written
	broken   error   // the tables in memory are in no state to be written
	grown    bool    // the file is to be lengthened to end
	scratch  []*slice
	entryBuf [24]byte

	io sync.RWMutex

	mu   sync.Mutex
	head *header
	l1   []uint64
	l2   *cache
	meta clusterSet // only of a writable image

	metaDirty atomic.Bool // anything of the tables waits to be written
	buffers   sync.Pool   // of *[]byte, a cluster each
	inflated  [inflateSlots]inflateSlot
}

// span is a run of guest clusters.
type span struct{ first, n int64 }

// Open opens the image in store, which it owns from then on, also if it fails.
func Open(store Storage, c Config) (*Image, error) {
	d, err := open(store, c)
	if err != nil {
		if d != nil && d.backing != nil {
			_ = d.backing.Close()
		}
		_ = store.Close()
		return nil, err
	}
	return d, nil
}

func open(store Storage, c Config) (*Image, error) {
	h, fileSize, err := readHeader(store)
	if err != nil {
		return nil, err
	}
	if !c.ReadOnly && h.incompatible&incompatCorrupt != 0 {
		return nil, corrupt("it is marked so: repair it with qemu-img check -r all, or open it read-only")
	}
	d := newImage(store, h, c)
	d.end.Store((fileSize + d.clusterSize - 1) >> d.clusterBits)
	if err := d.loadL1(); err != nil {
		return nil, err
	}
	if h.backingName != "" {
		if c.OpenBacking == nil {
			return nil, host.ErrBacking
		}
		if d.backing, err = c.OpenBacking(h.backingName, h.backingFormat); err != nil {
			return nil, err
		}
	}
	if c.ReadOnly {
		return d, nil
	}
	return d, d.prepareToWrite()
}

func readHeader(store Storage) (*header, int64, error) {
	fileSize, err := store.Size()
	if err != nil {
		return nil, 0, err
	}
	p := make([]byte, min(fileSize, maxHeaderRead))
	if err := readFull(store, p, 0); err != nil {
		return nil, 0, err
	}
	h, err := parseHeader(p, fileSize)
	return h, fileSize, err
}

func newImage(store Storage, h *header, c Config) *Image {
	d := &Image{
		store: store, readOnly: c.ReadOnly, head: h,
		clusterBits: h.clusterBits, clusterSize: h.clusterSize(), version: h.version, compression: h.compression,
	}
	cacheSize := c.CacheSize
	if cacheSize <= 0 {
		cacheSize = defaultCache
	}
	d.settled.L = &d.alloc
	d.size.Store(h.size)
	d.l2 = newCache(store, d.clusterSize, cacheSize)
	d.refs.init(store, h, cacheSize/4)
	d.buffers.New = func() any {
		p := make([]byte, d.clusterSize)
		return &p
	}
	return d
}

// loadTable reads n big-endian entries at off.
func loadTable(store Storage, off int64, n int) ([]uint64, error) {
	table := make([]uint64, n)
	var buf [sliceBytes]byte
	for i := 0; i < n; {
		p := buf[:min((n-i)*8, len(buf))]
		if err := readFull(store, p, off+int64(i)*8); err != nil {
			return nil, err
		}
		for ; len(p) > 0; p = p[8:] {
			table[i] = binary.BigEndian.Uint64(p)
			i++
		}
	}
	return table, nil
}

func (d *Image) loadL1() (err error) {
	d.l1, err = loadTable(d.store, d.head.l1Offset, d.head.l1Size)
	return err
}

// prepareToWrite brings the image into a state that may be written to: its reference
// counts right, no feature set that a writer does not keep up, no table over another.
func (d *Image) prepareToWrite() error {
	if err := d.refs.load(); err != nil {
		return err
	}
	if err := d.collectMeta(); err != nil {
		return err
	}
	if d.store.Device() {
		end, err := d.refs.lastUsed()
		if err != nil {
			return err
		}
		d.end.Store(end + 1)
	}
	if d.head.incompatible&incompatDirty != 0 {
		if err := d.repair(); err != nil {
			return err
		}
	}
	if d.head.version < 3 || (d.head.autoclear == 0 && d.head.incompatible&incompatDirty == 0) {
		return nil
	}
	// Nobody here keeps bitmaps up to date, so they end being valid, as the format wants.
	d.head.autoclear = 0
	d.head.incompatible &^= incompatDirty
	if err := d.writeField(offIncompatible, d.head.incompatible); err != nil {
		return err
	}
	if err := d.writeField(offAutoclear, 0); err != nil {
		return err
	}
	return d.store.Sync()
}

func (d *Image) writeField(off int64, v uint64) error {
	var p [8]byte
	binary.BigEndian.PutUint64(p[:], v)
	_, err := d.store.WriteAt(p[:], off)
	return err
}

// clusters gives how many clusters n bytes take.
func (d *Image) clusters(n int64) int64 { return (n + d.clusterSize - 1) >> d.clusterBits }

// collectMeta lists the clusters of all active tables and refuses any two that overlap.
func (d *Image) collectMeta() error {
	h, set := d.head, clusterSet{0}
	addRange := func(off, n int64) {
		for c := off >> d.clusterBits; c < (off>>d.clusterBits)+d.clusters(n); c++ {
			set = append(set, c)
		}
	}
	addRange(h.l1Offset, int64(h.l1Size)*8)
	addRange(h.refTableOffset, int64(h.refTableLen)<<d.clusterBits)
	if h.snapshots > 0 {
		addRange(h.snapshotOffset, 1)
	}
	for i, e := range d.l1 {
		off := int64(e & entryOffset)
		if off == 0 {
			continue
		}
		if err := d.checkTable("L2 table", i, off); err != nil {
			return err
		}
		set = append(set, off>>d.clusterBits)
	}
	for i, e := range d.refs.table {
		off := int64(e & refOffset)
		if off == 0 {
			continue
		}
		if err := d.checkTable("reference count block", i, off); err != nil {
			return err
		}
		set = append(set, off>>d.clusterBits)
	}
	slices.Sort(set)
	for i := 1; i < len(set); i++ {
		if set[i] == set[i-1] {
			return corrupt("two tables lie in the cluster at %#x", set[i]<<d.clusterBits)
		}
	}
	d.meta = slices.Clip(set)
	return nil
}

func (d *Image) checkTable(name string, i int, off int64) error {
	if off < 0 || off&(d.clusterSize-1) != 0 || off>>d.clusterBits >= d.end.Load() {
		return corrupt("%s %d at offset %#x", name, i, off)
	}
	return nil
}

// Size gives the disk's size in bytes.
func (d *Image) Size() int64 { return d.size.Load() }

// ReadOnly tells whether writes are refused.
func (d *Image) ReadOnly() bool { return d.readOnly }

// Close writes the tables and closes the file and the backing image.
func (d *Image) Close() error {
	var errs []error
	if !d.readOnly {
		errs = append(errs, d.settle())
	}
	if d.backing != nil {
		errs = append(errs, d.backing.Close())
	}
	return errors.Join(append(errs, d.store.Close())...)
}

// settle flushes until nothing is left to write: giving up clusters, which follows a
// flush, changes counts anew.
func (d *Image) settle() error {
	for range 3 {
		if err := d.Flush(); err != nil {
			return err
		}
		if !d.metaDirty.Load() {
			break
		}
	}
	return nil
}

func (d *Image) writable(off, n int64) error {
	if d.readOnly {
		return host.ErrReadOnly
	}
	return host.CheckRange(off, n, d.Size())
}
