package kernel

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Extract writes the ELF kernel that is in the image at path to w: the file
// itself, or what a bzImage's payload unpacks to, to the byte.
func Extract(path string, w io.Writer) error {
	f, err := openRegular(path)
	if err != nil {
		return fmt.Errorf("kernel: %w", err)
	}
	defer func() { _ = f.Close() }()
	img, err := OpenFile(f, Options{NoCache: true, verbatim: true})
	if err != nil {
		return err
	}
	defer func() { _ = img.Close() }()
	if img.unpacked != nil {
		return fmt.Errorf("kernel %s: %w", path, img.unpacked)
	}
	size := img.size
	if img.format == FormatBzImage {
		size = img.elfSize
	}
	if _, err := io.Copy(w, io.NewSectionReader(img.elfData, 0, int64(size))); err != nil {
		return fmt.Errorf("kernel %s: extract: %w", path, err)
	}
	return nil
}

// Listed is a kernel that List found.
type Listed struct {
	Path    string
	Cached  bool // in our cache; else installed on the host
	Version string
	Format  Format    // of the image; of a cached kernel, the one that it came from
	Size    int64     // of the file in bytes
	Used    time.Time // last change of an installed kernel, last use of a cached one (to the day)
}

// List lists the kernels in the cache that o names, and those installed in the
// directories given (the host's is /boot). What is not a kernel is passed over.
func List(o Options, dirs ...string) ([]Listed, error) {
	var out []Listed
	c, err := findCache(o.CacheDir)
	switch {
	case err == nil:
		out = c.list()
	case !errors.Is(err, os.ErrNotExist):
		return nil, err
	}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("kernels in %s: %w", dir, err)
		}
		for _, e := range entries {
			if !installedName(e.Name()) {
				continue
			}
			if k, ok := listInstalled(filepath.Join(dir, e.Name())); ok {
				out = append(out, k)
			}
		}
	}
	return out, nil
}

func (c *cache) list() []Listed {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return nil
	}
	var out []Listed
	for _, e := range entries {
		if !e.Type().IsRegular() || !isCacheName(e.Name()) {
			continue
		}
		f, err := os.Open(c.path(e.Name()))
		if err != nil {
			continue
		}
		t, terr := readTrailer(f)
		st, serr := f.Stat()
		_ = f.Close()
		if terr != nil || serr != nil {
			continue
		}
		out = append(out, Listed{
			Path: c.path(e.Name()), Cached: true, Version: t.label, Format: t.format,
			Size: st.Size(), Used: st.ModTime(),
		})
	}
	return out
}

// installedName tells kernels from the other files of /boot.
func installedName(name string) bool {
	for _, prefix := range [...]string{"vmlinuz", "vmlinux", "bzImage", "kernel"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// listInstalled looks at a file's headers and at nothing that needs unpacking.
func listInstalled(path string) (Listed, bool) {
	f, err := openRegular(path)
	if err != nil {
		return Listed{}, false
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return Listed{}, false
	}
	k := Listed{Path: path, Size: st.Size(), Used: st.ModTime()}
	size := uint64(st.Size())
	if h, err := parseBzImage(f, size); err == nil {
		k.Format, k.Version = FormatBzImage, h.version
		return k, true
	}
	if _, err := parseELF(f, size); err == nil {
		k.Format = FormatELF
		return k, true
	}
	return Listed{}, false
}
