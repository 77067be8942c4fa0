package kernel

import (
	"cmp"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// What the cache may grow to before a new kernel displaces the one that was
// longest out of use.
const (
	cacheMaxFiles = 32
	cacheMaxBytes = 4 << 30
	staleTemp     = time.Hour // a temporary file this old was left by a crash
)

// prune makes room for one more kernel. A machine that runs from a file that goes
// keeps it. What cannot be removed stays; the cache is a help and no more.
func (c *cache) prune() {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return
	}
	var files []fs.FileInfo
	var bytes int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue
		}
		name := e.Name()
		switch {
		case strings.HasPrefix(name, tempPrefix):
			if time.Since(info.ModTime()) > staleTemp {
				_ = os.Remove(c.path(name))
			}
		case info.Mode().IsRegular() && isCacheName(name):
			files = append(files, info)
			bytes += info.Size()
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return cmp.Compare(a.ModTime().UnixNano(), b.ModTime().UnixNano()) })
	for len(files) >= cacheMaxFiles || bytes > cacheMaxBytes && len(files) > 0 {
		_ = os.Remove(c.path(files[0].Name()))
		bytes -= files[0].Size()
		files = files[1:]
	}
	for _, e := range entries { // links to what went, now or before
		if e.Type()&fs.ModeSymlink == 0 || !strings.HasPrefix(e.Name(), statPrefix) {
			continue
		}
		path := c.path(e.Name())
		if _, err := os.Stat(path); os.IsNotExist(err) {
			_ = os.Remove(path)
		}
	}
}

func isCacheName(name string) bool {
	for _, prefix := range [...]string{payloadPrefix, embeddedPrefix, statPrefix} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
