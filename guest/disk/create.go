package disk

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/gureum/gureum/guest/disk/internal/host"
	"github.com/gureum/gureum/guest/disk/qcow2"
)

// CreateOptions shape a new image. The zero value is good for most.
type CreateOptions struct {
	// ClusterSize of a qcow2 image in bytes, a power of two from 512 to 2 MiB; 0 for 64 KiB.
	ClusterSize int64
	// RefcountBits is the width of a qcow2 image's reference counts, a power of two up to
	// 64; 0 for 16. One bit is enough without snapshots.
	RefcountBits int
	// Version of qcow2, 2 or 3; 0 for 3.
	Version int
}

// Create makes an image of size bytes that reads as zeroes. The file must not exist yet,
// and does not after a failure.
func Create(path string, size int64, format Format, o CreateOptions) error {
	switch format {
	case Raw:
		if size < 0 {
			return fmt.Errorf("create %s: a disk of %d bytes: %w", path, size, ErrRange)
		}
		return create(path, func(f *host.File) error { return f.Truncate(size) })
	case Qcow2:
		return createQcow2(path, o, qcow2.Layout{Size: size})
	}
	return fmt.Errorf("create %s: %w: %q is unknown: use raw or qcow2", path, ErrFormat, format)
}

func createQcow2(path string, o CreateOptions, l qcow2.Layout) error {
	l.ClusterSize, l.RefcountBits, l.Version = o.ClusterSize, o.RefcountBits, o.Version
	return create(path, func(f *host.File) error { return qcow2.Create(f, l) })
}

// create makes a file and has it filled; a failure takes it away again.
func create(path string, fill func(*host.File) error) error {
	f, err := host.Open(path, host.Options{Create: true})
	if err != nil {
		return err
	}
	if err = fill(f); err == nil {
		err = f.Sync()
	}
	if err != nil {
		_ = os.Remove(path)
		_ = f.Close()
		return fmt.Errorf("create %s: %w", path, err)
	}
	return f.Close()
}

// OverlayOptions shape a new overlay.
type OverlayOptions struct {
	CreateOptions
	// BaseFormat of the base; empty as with Options.Format.
	BaseFormat Format
	// Size of the overlay's disk in bytes; 0 for that of the base.
	Size int64
}

// CreateOverlay makes a qcow2 image at path that reads as the image at base until it is
// written to. Any number of overlays can be on one base, which must not change from now on;
// each that is in use holds the base with a shared lock. A base in the overlay's folder or
// below is entered by its relative name, so that both can be moved together.
func CreateOverlay(path, base string, o OverlayOptions) error {
	name, err := baseName(path, base)
	if err != nil {
		return err
	}
	file, err := host.Open(base, host.Options{ReadOnly: true, Unlocked: true})
	if err != nil {
		return err
	}
	info, err := describe(file, o.BaseFormat)
	_ = file.Close()
	if err != nil {
		return err
	}
	if o.Size == 0 {
		o.Size = info.VirtualSize
	}
	return createQcow2(path, o.CreateOptions, qcow2.Layout{Size: o.Size, BackingName: name, BackingFormat: string(info.Format)})
}

// baseName gives the name by which an overlay finds its base.
func baseName(path, base string) (string, error) {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return "", err
	}
	target, err := filepath.EvalSymlinks(base)
	if err == nil {
		target, err = filepath.Abs(target)
	}
	if err != nil {
		return "", err
	}
	if rel, err := filepath.Rel(dir, target); err == nil && filepath.IsLocal(rel) {
		return rel, nil
	}
	return target, nil
}

// Resize grows the image at path, which must not be in use, to size bytes. o is as for
// Open: an overlay is resized with its base at hand, which may be longer than it.
func Resize(path string, size int64, o Options) error {
	o.ReadOnly = false
	d, err := Open(path, o)
	if err != nil {
		return err
	}
	if err := d.Resize(size); err != nil {
		_ = d.Close()
		return fmt.Errorf("resize %s: %w", path, err)
	}
	if err := d.Flush(); err != nil {
		_ = d.Close()
		return err
	}
	return d.Close()
}
