package qcow2

import "github.com/gureum/gureum/guest/disk/internal/host"

// ReadAt fills p from off, all of it or an error.
func (d *Image) ReadAt(p []byte, off int64) (int, error) {
	if err := host.CheckRange(off, int64(len(p)), d.Size()); err != nil {
		return 0, err
	}
	done := 0
	for done < len(p) {
		n, err := d.readSome(p[done:], off+int64(done))
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// readSome reads the first run of p.
func (d *Image) readSome(p []byte, off int64) (int, error) {
	d.io.RLock()
	defer d.io.RUnlock()
	ext, err := d.lookup(off, int64(len(p)), false)
	if err != nil {
		return 0, err
	}
	p = p[:ext.n]
	return len(p), d.readExtent(ext, p, off)
}

// readExtent reads a run whose guest offset is off. It is called with io held to read.
func (d *Image) readExtent(ext extent, p []byte, off int64) error {
	switch ext.kind {
	case kindData:
		return readFull(d.store, p, ext.host)
	case kindCompressed:
		return d.readCompressed(ext.entry, p, off&(d.clusterSize-1))
	case kindUnallocated:
		if d.backing != nil {
			return d.readBacking(p, off)
		}
	}
	clear(p)
	return nil
}

// readBacking reads from the backing image, which may be shorter.
func (d *Image) readBacking(p []byte, off int64) error {
	n := min(max(d.backing.Size()-off, 0), int64(len(p)))
	clear(p[n:])
	if n == 0 {
		return nil
	}
	_, err := d.backing.ReadAt(p[:n], off)
	return err
}

// covered tells whether the backing image shows through where a guest cluster has none of
// its own.
func (d *Image) covered(cluster int64) bool {
	return d.backing != nil && cluster<<d.clusterBits < d.backing.Size()
}
