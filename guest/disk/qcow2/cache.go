package qcow2

// sliceBytes is the most of a table that is read, kept and written as one: small, so that
// a random access to a large disk costs little memory and reading.
const sliceBytes = 4096

// slice is a piece of an L2 table or reference count block.
type slice struct {
	off   int64 // in the file; noSlice while it holds nothing
	data  []byte
	dirty bool
	used  bool // since the clock hand last passed
}

const noSlice = -1

// cache keeps slices by their offset in the file, at most max of them, but that a dirty
// slice stays until it is written. It takes memory as it is needed. Its user locks.
type cache struct {
	store Storage
	size  int // bytes a slice
	max   int
	slots []*slice
	at    map[int64]*slice
	hand  int
	dirty int
}

func newCache(store Storage, clusterSize int64, bytes int) *cache {
	size := int(min(clusterSize, sliceBytes))
	return &cache{store: store, size: size, max: max(bytes/size, 4), at: make(map[int64]*slice)}
}

// crowded tells that so many slices are dirty that they should be written first.
func (c *cache) crowded() bool { return c.dirty >= c.max/2 }

// get gives the slice at off, which is a multiple of the slice's size.
func (c *cache) get(off int64) (*slice, error) {
	if s := c.at[off]; s != nil {
		s.used = true
		return s, nil
	}
	s := c.vacant()
	if s.off != noSlice {
		delete(c.at, s.off)
		s.off = noSlice
	}
	if err := readFull(c.store, s.data, off); err != nil {
		return nil, err
	}
	s.off, s.used = off, true
	c.at[off] = s
	return s, nil
}

// vacant finds a slice to use anew: a new one while there is room, else by the clock.
func (c *cache) vacant() *slice {
	if len(c.slots) >= c.max {
		for range 2 * len(c.slots) {
			s := c.slots[c.hand]
			c.hand = (c.hand + 1) % len(c.slots)
			if s.dirty {
				continue
			}
			if !s.used {
				return s
			}
			s.used = false
		}
	}
	s := &slice{off: noSlice, data: make([]byte, c.size)}
	c.slots = append(c.slots, s)
	return s
}

// touch notes that s was changed.
func (c *cache) touch(s *slice) {
	if !s.dirty {
		s.dirty = true
		c.dirty++
	}
}

func (c *cache) clean(s *slice) {
	if s.dirty {
		s.dirty = false
		c.dirty--
	}
}

// drop forgets what it has of n bytes from off, dirty or not: that place in the file has
// begun another life.
func (c *cache) drop(off, n int64) {
	for at := off; at < off+n; at += int64(c.size) {
		if s := c.at[at]; s != nil {
			c.clean(s)
			delete(c.at, at)
			s.off, s.used = noSlice, false
		}
	}
}

// appendDirty adds the dirty slices to list.
func (c *cache) appendDirty(list []*slice) []*slice {
	if c.dirty == 0 {
		return list
	}
	for _, s := range c.slots {
		if s.dirty {
			list = append(list, s)
		}
	}
	return list
}
