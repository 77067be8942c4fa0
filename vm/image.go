package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gureum/gureum/guest/boot"
	"github.com/gureum/gureum/guest/kernel"
	"github.com/gureum/gureum/guest/linux"
	"github.com/gureum/gureum/guest/memory"
	"github.com/gureum/gureum/guest/userland"
	"github.com/gureum/gureum/vcpu"
)

// image is what a machine boots: a kernel, and the pieces of its initial RAM disk.
type image struct {
	kernel *kernel.Image
	name   string     // of the kernel, for people
	files  []*os.File // of the pieces
	pieces []boot.Piece
}

// openImage opens what the Config names. Its errors are *InputError.
func openImage(c *Config) (*image, error) {
	img := &image{}
	if err := img.open(c); err != nil {
		return nil, errors.Join(&InputError{err}, img.Close())
	}
	return img, nil
}

func (img *image) open(c *Config) error {
	var err error
	options := kernel.Options{CacheDir: subdirectory(c.CacheDir, "kernels")}
	if c.Kernel != "" {
		img.name = c.Kernel
		img.kernel, err = kernel.Open(c.Kernel, options)
	} else {
		blob, id := linux.Image()
		img.name = linux.Version()
		img.kernel, err = kernel.OpenEmbedded(kernel.Embedded{
			Name: img.name, Blob: blob, ID: id, Size: uint64(linux.Size()), Version: img.name, Static: true,
		}, options)
	}
	if err != nil {
		return err
	}
	return img.openInitrd(c)
}

// openInitrd lines up the pieces: a later one overwrites files of an earlier one.
func (img *image) openInitrd(c *Config) error {
	cache := subdirectory(c.CacheDir, "userland")
	if c.Initrd == "" {
		if c.NoUserLand {
			return nil
		}
		return img.addPiece(userland.Open(cache))
	}
	if err := img.addPiece(os.Open(c.Initrd)); err != nil || !c.Agent {
		return err
	}
	return img.addPiece(userland.OpenOverlay(cache))
}

// addPiece takes an open file, or the error of opening it.
func (img *image) addPiece(f *os.File, err error) error {
	if err != nil {
		return fmt.Errorf("initrd: %w", err)
	}
	img.files = append(img.files, f)
	piece, err := boot.FilePiece(f)
	if err != nil {
		return err
	}
	img.pieces = append(img.pieces, piece)
	return nil
}

// subdirectory is a folder of the cache; "" stays the default.
func subdirectory(cache, name string) string {
	if cache == "" {
		return ""
	}
	return filepath.Join(cache, name)
}

// load puts kernel, initial RAM disk, tables and boot structures into memory. The
// guest does not fit if it fails, so its errors are *InputError.
func (img *image) load(m *memory.Memory, c *Config, devices virtioLayout) (vcpu.Entry, error) {
	entry, err := img.place(m, c, devices)
	if err != nil {
		return vcpu.Entry{}, &InputError{err}
	}
	mode := vcpu.EntryLinux64
	if entry.Protocol == boot.PVH {
		mode = vcpu.EntryPVH
	}
	return vcpu.Entry{Mode: mode, IP: entry.IP, Arg: entry.Arg, PageTable: entry.PageTable, GDT: entry.GDT}, nil
}

func (img *image) place(m *memory.Memory, c *Config, devices virtioLayout) (boot.Entry, error) {
	loaded, err := img.kernel.Load(m)
	if err != nil {
		return boot.Entry{}, err
	}
	tables, err := writeTables(m, c.CPUs, devices)
	if err != nil {
		return boot.Entry{}, err
	}
	return boot.Setup(m, boot.KernelInfo(loaded), boot.Params{
		Cmdline:  commandLine(c, devices.cmdline()...),
		Initrd:   img.pieces,
		RSDP:     tables.rsdp,
		Reserved: tables.reserved,
	})
}

// Close closes the files. A second Close does nothing.
func (img *image) Close() error {
	var errs []error
	if img.kernel != nil {
		errs = append(errs, img.kernel.Close())
		img.kernel = nil
	}
	for _, f := range img.files {
		errs = append(errs, f.Close())
	}
	img.files = nil
	return errors.Join(errs...)
}
