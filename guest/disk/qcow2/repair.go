package qcow2

import (
	"fmt"

	"github.com/gureum/gureum/guest/disk/internal/host"
)

// repair counts anew after a writer that keeps counts lazily did not close the image, and
// enters that. Anything else amiss is refused.
func (d *Image) repair() error {
	c := newChecker(d.store, d.head, d.end.Load()<<d.clusterBits)
	if err := c.walk(); err != nil {
		return err
	}
	if c.report.Errors > 0 {
		return fmt.Errorf("%w: it was not closed and has more wrong than its reference counts (%s): try qemu-img check -r all",
			host.ErrCorrupt, c.report.Messages[0])
	}
	most := ^uint64(0) >> (64 - 1<<d.refs.order)
	d.alloc.Lock()
	defer d.alloc.Unlock()
	err := c.eachCount(func(cluster int64, _, used uint64) error {
		if used > most {
			return corrupt("cluster at %#x is used %d times", cluster<<d.clusterBits, used)
		}
		if b := cluster >> d.refs.blockBits; b >= int64(len(d.refs.table)) || d.refs.table[b]&refOffset == 0 {
			if err := d.addBlock(b); err != nil {
				return err
			}
		}
		if d.refs.cache.crowded() {
			if err := d.writeTables(); err != nil {
				return err
			}
		}
		return d.refs.set(cluster, used)
	})
	if err != nil {
		return err
	}
	return d.writeTables()
}
