package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/gureum/gureum/guest/disk"
	"github.com/gureum/gureum/virtio/blk"
	"github.com/gureum/gureum/virtio/ratelimit"
	"github.com/gureum/gureum/vm"
)

// addDiskFlags adds the flags of disks.
func (o *runOptions) addDiskFlags(f *pflag.FlagSet) {
	f.Var(&disksValue{&o.config.Disks, &o.image.refs}, "disk", "give the guest a disk, an image or block device at `PATH` (repeatable), "+
		"or boot the image of the store of that name on a scratch layer (persist=FILE keeps it, size=SIZE makes the disk larger); "+
		"options behind a comma: ro, format=raw|qcow2, cache=writeback|none, engine=auto|io_uring|workers, id=NAME, "+
		"queues=N, bps=SIZE and iops=N (bytes and requests a second), block-size=SIZE, "+
		"backing=allow (the image may have a backing file, in its folder or below)")
	f.StringVar((*string)(&o.diskCache), "cache", "", "cache of disks that do not say: writeback (the host's page cache, the default) or none (past it)")
}

// applyDiskCache gives --cache to the disks that do not say.
func (o *runOptions) applyDiskCache() error {
	switch o.diskCache {
	case "", vm.CacheWriteback, vm.CacheNone:
	default:
		return fmt.Errorf("cache %q: give writeback or none", o.diskCache)
	}
	for i := range o.config.Disks {
		if d := &o.config.Disks[i]; d.Cache == "" {
			d.Cache = o.diskCache
		}
	}
	return nil
}

// disksValue collects the --disk flags.
type disksValue struct {
	disks *[]vm.Disk
	refs  *map[int]imageRef
}

// String prints the flag's default.
func (v *disksValue) String() string { return "" }

// Type names the value in help texts.
func (v *disksValue) Type() string { return "PATH" }

// Set adds one disk.
func (v *disksValue) Set(s string) error {
	rest, ref, err := cutImageOptions(s)
	if err != nil {
		return err
	}
	d, err := parseDisk(rest)
	if err != nil {
		return err
	}
	if ref != (imageRef{}) {
		if *v.refs == nil {
			*v.refs = map[int]imageRef{}
		}
		(*v.refs)[len(*v.disks)] = ref
	}
	*v.disks = append(*v.disks, d)
	return nil
}

// parseDisk reads PATH[,OPTION...]. A comma of the path is written twice. What the
// values may be is the machine's affair; see vm.Disk.
func parseDisk(s string) (vm.Disk, error) {
	words := splitCommas(s)
	d := vm.Disk{Path: words[0]}
	if d.Path == "" {
		return d, fmt.Errorf("disk %q: give the path of an image", s)
	}
	seen := map[string]bool{}
	for _, word := range words[1:] {
		key, value, ok := strings.Cut(word, "=")
		if seen[key] {
			return d, fmt.Errorf("disk option %s is given twice", key)
		}
		seen[key] = true
		if key == "ro" && !ok {
			d.ReadOnly = true
			continue
		}
		if value == "" {
			return d, fmt.Errorf("disk option %q: write ro, or OPTION=VALUE", word)
		}
		if err := setDiskOption(&d, key, value); err != nil {
			return d, err
		}
	}
	return d, nil
}

// splitCommas splits at commas; two of them stand for one.
func splitCommas(s string) []string {
	words := []string{""}
	for i := 0; i < len(s); i++ {
		last := len(words) - 1
		switch {
		case s[i] != ',':
			words[last] += s[i : i+1]
		case i+1 < len(s) && s[i+1] == ',':
			words[last] += ","
			i++
		default:
			words = append(words, "")
		}
	}
	return words
}

func setDiskOption(d *vm.Disk, key, value string) (err error) {
	var n uint64
	switch key {
	case "format":
		d.Format = disk.Format(value)
	case "cache":
		d.Cache = vm.DiskCache(value)
	case "engine":
		d.Engine, err = parseEngine(value)
	case "id":
		d.ID = value
	case "queues":
		d.Queues, err = parseDiskCount(key, value)
	case "bps":
		n, err = parseSize(value)
		d.Limit.Bytes = ratelimit.PerSecond(n)
	case "iops":
		var ops int
		ops, err = parseDiskCount(key, value)
		d.Limit.Ops = ratelimit.PerSecond(uint64(ops))
	case "block-size":
		n, err = parseSize(value)
		d.BlockSize = uint32(min(n, 1<<31))
	case "backing":
		if d.AllowBacking = value == "allow"; !d.AllowBacking {
			err = fmt.Errorf("disk option backing: %q: give allow", value)
		}
	default:
		err = fmt.Errorf("disk option %q: give ro, format, cache, engine, id, queues, bps, iops, block-size or backing", key)
	}
	return err
}

func parseDiskCount(key, value string) (int, error) {
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("disk option %s: %q is not a number above 0", key, value)
	}
	return int(n), nil
}

func parseEngine(s string) (blk.Engine, error) {
	switch s {
	case "auto":
		return blk.EngineAuto, nil
	case "io_uring":
		return blk.EngineIOURing, nil
	case "workers":
		return blk.EngineWorkers, nil
	}
	return 0, fmt.Errorf("disk option engine: %q: give auto, io_uring or workers", s)
}
