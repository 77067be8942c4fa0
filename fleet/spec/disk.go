package spec

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/gureum/gureum/guest/disk"
	"github.com/gureum/gureum/virtio/blk"
	"github.com/gureum/gureum/virtio/ratelimit"
	"github.com/gureum/gureum/vm"
)

// parseDisks reads the --disk flags, and gives --cache to those that do not say.
func (p *Plan) parseDisks(s *Spec) error {
	cache := vm.DiskCache(s.Cache)
	switch cache {
	case "", vm.CacheWriteback, vm.CacheNone:
	default:
		return fmt.Errorf("cache %q: give writeback or none", s.Cache)
	}
	for i, text := range s.Disk {
		rest, ref, err := cutImageOptions(text)
		if err != nil {
			return err
		}
		d, err := parseDisk(rest)
		if err != nil {
			return err
		}
		if d.Cache == "" {
			d.Cache = cache
		}
		if ref != (imageRef{}) {
			p.refs[i] = ref
		}
		p.Config.Disks = append(p.Config.Disks, d)
	}
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
		n, err = ParseSize(value)
		d.Limit.Bytes = ratelimit.PerSecond(n)
	case "iops":
		var ops int
		ops, err = parseDiskCount(key, value)
		d.Limit.Ops = ratelimit.PerSecond(uint64(ops))
	case "block-size":
		n, err = ParseSize(value)
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
