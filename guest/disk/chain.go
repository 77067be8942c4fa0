package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gureum/gureum/guest/disk/internal/host"
	"github.com/gureum/gureum/guest/disk/qcow2"
	"github.com/gureum/gureum/guest/disk/raw"
)

// maxDepth bounds a chain of images, the top one counted.
const maxDepth = 16

// chain opens an image and the ones under it.
type chain struct {
	options Options
	above   []os.FileInfo // the images already open, to find a loop
}

// qcow2Disk is a qcow2 image with what only its file knows.
type qcow2Disk struct {
	*qcow2.Image
	file *host.File
}

func (d *qcow2Disk) Alignment() int { return d.file.Alignment() }

func (c *chain) open(path string, format Format, readOnly bool) (Disk, error) {
	if err := c.enter(path); err != nil {
		return nil, err
	}
	file, err := host.Open(path, host.Options{ReadOnly: readOnly, Direct: c.options.Direct})
	if err != nil {
		return nil, err
	}
	if format, err = decide(file, format); err != nil {
		_ = file.Close()
		return nil, err
	}
	if format == Raw {
		return c.raw(file)
	}
	image, err := qcow2.Open(file, qcow2.Config{
		ReadOnly:  readOnly,
		CacheSize: c.options.CacheSize,
		OpenBacking: func(name, format string) (qcow2.Backing, error) {
			return c.backing(path, name, Format(format))
		},
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return &qcow2Disk{image, file}, nil
}

func (c *chain) raw(file *host.File) (Disk, error) {
	d, err := raw.New(file)
	if err != nil {
		return nil, err // not d, which would be a Disk that is not nil
	}
	return d, nil
}

// enter notes one more image of the chain, and refuses a loop and a chain without end. It
// looks before the file is opened, as its lock would only say that it is in use.
func (c *chain) enter(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	for _, other := range c.above {
		if os.SameFile(st, other) {
			return fmt.Errorf("open %s: %w: the image is its own backing file", path, ErrBacking)
		}
	}
	if c.above = append(c.above, st); len(c.above) > maxDepth {
		return fmt.Errorf("open %s: %w: more than %d images in one chain", path, ErrBacking, maxDepth)
	}
	return nil
}

// backing opens the image under the one at path, read-only and so with a shared lock.
func (c *chain) backing(path, name string, format Format) (qcow2.Backing, error) {
	if !c.options.AllowBacking && len(c.options.BackingDirs) == 0 {
		return nil, fmt.Errorf("%w: the image wants %q under it: allow backing files if you trust the image", ErrBacking, name)
	}
	if format != Raw && format != Qcow2 {
		// Nobody may guess: a guest that wrote to a raw base could pick what is read.
		return nil, fmt.Errorf("%w: the format of %q is said to be %q: set it to raw or qcow2 with qemu-img rebase -u -F", ErrBacking, name, format)
	}
	real, err := c.resolve(path, name)
	if err != nil {
		return nil, err
	}
	return c.open(real, format, true)
}

// resolve gives the path of a backing file, with no symbolic link left in it, if it is in a
// folder where it may be.
func (c *chain) resolve(path, name string) (string, error) {
	if strings.ContainsRune(name, 0) || strings.HasPrefix(name, "json:") || strings.Contains(name, "://") {
		return "", fmt.Errorf("%w: %q is no file name", ErrBacking, name)
	}
	image, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	home := filepath.Dir(image)
	if !filepath.IsAbs(name) {
		name = filepath.Join(home, name)
	}
	target, err := filepath.EvalSymlinks(name)
	if err != nil {
		return "", fmt.Errorf("backing file: %w", err)
	}
	if target, err = filepath.Abs(target); err != nil {
		return "", err
	}
	dirs := append([]string{home}, c.options.BackingDirs...)
	for _, dir := range dirs {
		if inside(dir, target) {
			return target, nil
		}
	}
	return "", fmt.Errorf("%w: %s is in none of the folders %s", ErrBacking, target, strings.Join(dirs, ", "))
}

// inside tells whether target, which has no symbolic link in it, is in dir or below.
func inside(dir, target string) bool {
	dir, err := filepath.EvalSymlinks(dir)
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return false
	}
	rel, err := filepath.Rel(dir, target)
	return err == nil && filepath.IsLocal(rel)
}
