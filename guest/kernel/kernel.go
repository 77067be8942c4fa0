// Package kernel opens kernel images and loads them into guest memory: ELF
// vmlinux files and bzImages, whose compressed kernel is unpacked on the host
// once and kept in a cache.
//
// The machine (vm) opens an Image, loads it, and hands what Load says to the
// boot protocol (guest/boot) and the vCPUs; the command line (cmd/gureum) shows
// images with Inspect, Extract and List.
//
// An image is a stranger's file: whatever it holds, the answer is a kernel or an
// error, after bounded time and in bounded memory. The package never runs,
// verifies signatures of, or patches a kernel.
//
// A kernel is copied into guest memory, not mapped from its file. Linux patches most
// pages of its text as it boots, so that little of a mapping stays shared, and the guest
// faults up to three times on each page of 4 KiB, where copies lie in huge pages
// (docs/benchmarks.md has both measured).
package kernel

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Options say how to open an image.
type Options struct {
	// CacheDir is where unpacked kernels are kept; "" is gureum/kernels in the
	// user's cache directory. It is made if it does not exist, and if it cannot be
	// used, all works without, from memory.
	CacheDir string
	// NoCache keeps nothing: unpacked kernels live in memory.
	NoCache bool

	verbatim bool // for Extract and Inspect: no change to the unpacked ELF
}

// Format is the kind of a kernel image file.
type Format uint8

// The formats that can be opened.
const (
	FormatELF Format = iota + 1
	FormatBzImage
)

func (f Format) String() string {
	switch f {
	case FormatELF:
		return "ELF"
	case FormatBzImage:
		return "bzImage"
	}
	return "unknown"
}

// Protocols is the set of boot protocols that a kernel takes.
type Protocols uint8

// The boot protocols.
const (
	// PVH is Xen's direct boot ABI for HVM guests (docs/misc/pvh.pandoc).
	PVH Protocols = 1 << iota
	// Linux64 is the 64-bit Linux boot protocol (Documentation/arch/x86/boot.rst).
	Linux64
)

// Has tells whether all protocols of q are in p.
func (p Protocols) Has(q Protocols) bool { return p&q == q }

func (p Protocols) String() string {
	switch p {
	case PVH:
		return "pvh"
	case Linux64:
		return "linux64"
	case PVH | Linux64:
		return "pvh, linux64"
	}
	return "none"
}

// ErrNotKernel is wrapped by the errors about files that are something else.
var ErrNotKernel = errors.New("not a kernel image")

// Image is an open kernel, ready to be loaded into any number of machines.
type Image struct {
	name        string
	format      Format
	compression Compression
	header      *setupHeader // nil for an ELF file
	file        io.ReaderAt  // the image as it was given
	size        uint64

	// The ELF kernel, if elf is not nil; else the image boots by its own code.
	elf      *elfFile
	elfData  io.ReaderAt
	elfSize  uint64
	unpacked error  // why elf is nil, for a bzImage
	given    string // version of an embedded kernel

	cached   bool
	cacheErr error
	closers  []io.Closer
}

// Format is the kind of the file.
func (img *Image) Format() Format { return img.format }

// Compression is how the kernel in a bzImage, or an embedded one, is packed.
func (img *Image) Compression() Compression { return img.compression }

// Version is the version string of a bzImage, such as "6.1.0-44-amd64 (builder)
// #1 SMP date", or that given for an embedded kernel. An ELF file does not tell
// without a search: see Inspect.
func (img *Image) Version() string {
	if img.header != nil {
		return img.header.version
	}
	return img.given
}

// SetupHeader is a copy of a bzImage's setup header (see Loaded), nil for ELF.
func (img *Image) SetupHeader() []byte {
	if img.header == nil {
		return nil
	}
	return img.header.Raw()
}

// CmdlineMax is the longest command line in bytes, NUL not counted, that the
// kernel takes: what its setup header says, or 2047 (COMMAND_LINE_SIZE is 2048).
func (img *Image) CmdlineMax() int {
	if img.header == nil || img.header.cmdlineSize == 0 {
		return 2047
	}
	return int(min(img.header.cmdlineSize, 1<<20))
}

// Protocols are the boot protocols that the image, loaded by us, can be entered by.
func (img *Image) Protocols() Protocols {
	if img.elf != nil && img.elf.pvhEntry != 0 {
		return PVH | Linux64
	}
	return Linux64
}

// Cached tells whether the kernel is in the cache, and if it is not although it
// should be, why. An ELF file needs no cache.
func (img *Image) Cached() (bool, error) { return img.cached, img.cacheErr }

// Unpacked is nil, or why the kernel in a bzImage could not be unpacked on the
// host: it will then unpack itself in the guest, which takes longer.
func (img *Image) Unpacked() error { return img.unpacked }

// Close frees what the image holds. Machines that it was loaded into keep it.
func (img *Image) Close() error {
	var errs []error
	for _, c := range img.closers {
		errs = append(errs, c.Close())
	}
	img.closers = nil
	return errors.Join(errs...)
}

// Open opens the kernel image at path.
func Open(path string, o Options) (*Image, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, fmt.Errorf("kernel: %w", err)
	}
	img, err := OpenFile(f, o)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	img.closers = append(img.closers, f)
	return img, nil
}

// OpenFile opens the kernel image in f, which the caller closes after the Image.
func OpenFile(f *os.File, o Options) (*Image, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("kernel: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("kernel %s: %w: %s", f.Name(), ErrNotKernel, kindOf(st.Mode()))
	}
	return open(f.Name(), f, uint64(st.Size()), statKey(st), o)
}

// OpenBytes opens a kernel image in memory, which must not change before Close.
// The name is for errors.
func OpenBytes(name string, b []byte, o Options) (*Image, error) {
	return open(name, readerAt(b), uint64(len(b)), "", o)
}

// open is what the Open functions come to. key names the content of the file
// without reading it; "" if that is not known.
func open(name string, file io.ReaderAt, size uint64, key string, o Options) (*Image, error) {
	img := &Image{name: name, file: file, size: size}
	head := make([]byte, min(size, headSniff))
	if err := readAt(file, head, 0, size); err != nil {
		return nil, fmt.Errorf("kernel %s: %w", name, err)
	}
	var err error
	switch {
	case len(head) >= 4 && string(head[:4]) == string(elfMagic):
		err = img.openELF()
	case isBzImage(head):
		err = img.openBzImage(key, o)
	default:
		err = fmt.Errorf("%w: %s", ErrNotKernel, sniff(head, size))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("kernel %s: %w", name, err), img.Close())
	}
	return img, nil
}

// useELF makes f, a file of ours that holds an ELF kernel of size bytes, the
// kernel. f is img's from here on.
func (img *Image) useELF(f *os.File, size uint64) error {
	elf, err := parseELF(f, size)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	img.closers = append(img.closers, f)
	img.elf, img.elfData, img.elfSize = elf, f, size
	return nil
}

// readerAt is a byte slice as a file.
type readerAt []byte

func (b readerAt) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
