// Package initramfs builds the archives that Linux unpacks into its first root
// file system: cpio in the "newc" form, uncompressed, so that the guest spends no
// time on unpacking and machines can share its pages.
//
// An [Archive] is filled by calls that cannot fail one by one (the first error is
// kept and comes out at the end), and written sorted by name, with fixed times
// and inode numbers: the same contents give the same bytes.
//
//	var a initramfs.Archive
//	a.File("init", initramfs.Attr{Mode: 0o755}, program)
//	a.CharDevice("dev/console", initramfs.Attr{Mode: 0o600}, 5, 1)
//	_, err := a.WriteTo(file)
//
// The builders of guest user lands call it, and tests read archives back with
// [Reader]. A VMM at work does not need it: package boot puts finished archives,
// the default one and the user's, one after the other. It never writes to the
// host's file system.
//
// The format is that of the kernel's document
// driver-api/early-userspace/buffer-format.rst.
package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strings"
)

// Attr is an entry's owner and permission.
type Attr struct {
	// Mode holds the permission bits, setuid, setgid and sticky bit too (07777).
	Mode uint32
	// UID and GID are the owner; zero is root.
	UID, GID uint32
}

// ErrInvalid is in the chain of errors about entries that the format or the
// archive cannot hold.
var ErrInvalid = errors.New("invalid initramfs entry")

// Types of entries: bits of a header's mode, as in struct stat.
const (
	TypeMask    = 0o170000
	TypeFIFO    = 0o010000
	TypeChar    = 0o020000
	TypeDir     = 0o040000
	TypeBlock   = 0o060000
	TypeRegular = 0o100000
	TypeSymlink = 0o120000

	permMask = 0o7777
)

const (
	// maxName is PATH_MAX with the NUL: what the kernel reads at most.
	maxName = 4096
	// maxSize is what the eight digits of a size hold.
	maxSize = math.MaxUint32

	impliedDirMode = 0o755
)

// Archive is a set of files, addressed by path. Paths are relative to the root,
// a leading slash is ignored; missing parent directories are made, mode 0755.
// The zero Archive is empty and ready.
type Archive struct {
	// ModTime is the modification time of every entry, in seconds since 1970.
	ModTime uint32

	entries map[string]*entry
	err     error
}

// entry is one file; open gives its contents, size bytes.
type entry struct {
	name  string
	mode  uint32
	attr  Attr
	major uint32
	minor uint32
	size  uint32
	open  func() (io.ReadCloser, error)
}

// Err is the first error so far.
func (a *Archive) Err() error { return a.err }

// Dir adds a directory, or sets the attributes of one that is there.
func (a *Archive) Dir(name string, attr Attr) {
	a.add(name, &entry{mode: TypeDir, attr: attr})
}

// File adds a regular file. data must not change until the archive is written.
func (a *Archive) File(name string, attr Attr, data []byte) {
	a.add(name, regular(attr, int64(len(data)), func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}))
}

// HostFile adds a regular file whose contents are those of a file of the host,
// read when the archive is written. It must not change its size until then.
func (a *Archive) HostFile(name string, attr Attr, hostPath string) {
	st, err := os.Stat(hostPath)
	switch {
	case err != nil:
		a.fail(err)
	case !st.Mode().IsRegular():
		a.fail(fmt.Errorf("%w %s: %s is not a regular file", ErrInvalid, name, hostPath))
	default:
		a.add(name, regular(attr, st.Size(), func() (io.ReadCloser, error) { return os.Open(hostPath) }))
	}
}

// Symlink adds a symbolic link; its target is taken as it is.
func (a *Archive) Symlink(name, target string) {
	if target == "" || len(target) >= maxName || strings.IndexByte(target, 0) >= 0 {
		a.fail(fmt.Errorf("%w %s: link to %q", ErrInvalid, name, target))
		return
	}
	e := regular(Attr{Mode: 0o777}, int64(len(target)), func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(target)), nil
	})
	e.mode = TypeSymlink
	a.add(name, e)
}

// CharDevice adds a character device node.
func (a *Archive) CharDevice(name string, attr Attr, major, minor uint32) {
	a.add(name, &entry{mode: TypeChar, attr: attr, major: major, minor: minor})
}

// BlockDevice adds a block device node.
func (a *Archive) BlockDevice(name string, attr Attr, major, minor uint32) {
	a.add(name, &entry{mode: TypeBlock, attr: attr, major: major, minor: minor})
}

// FIFO adds a named pipe.
func (a *Archive) FIFO(name string, attr Attr) {
	a.add(name, &entry{mode: TypeFIFO, attr: attr})
}

// Tree adds all that a file system holds below a directory of the archive ("" is
// its root): directories, regular files, and symbolic links if fsys can read
// them (os.DirFS can). The owner is root. Contents are read when the archive is
// written.
func (a *Archive) Tree(under string, fsys fs.FS) {
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if name != "." {
			a.treeEntry(fsys, path.Join(under, name), name, info)
		}
		return a.err
	})
	if err != nil {
		a.fail(err)
	}
}

func (a *Archive) treeEntry(fsys fs.FS, name, source string, info fs.FileInfo) {
	attr := Attr{Mode: unixMode(info.Mode())}
	switch info.Mode().Type() {
	case fs.ModeDir:
		a.Dir(name, attr)
	case fs.ModeSymlink:
		target, err := fs.ReadLink(fsys, source)
		if err != nil {
			a.fail(err)
			return
		}
		a.Symlink(name, target)
	case 0:
		a.add(name, regular(attr, info.Size(), func() (io.ReadCloser, error) { return fsys.Open(source) }))
	default:
		a.fail(fmt.Errorf("%w %s: is a %s", ErrInvalid, source, info.Mode().Type()))
	}
}

// unixMode translates Go's permission bits to those of the format.
func unixMode(m fs.FileMode) uint32 {
	mode := uint32(m.Perm())
	for _, special := range [...]struct {
		bit  fs.FileMode
		unix uint32
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if m&special.bit != 0 {
			mode |= special.unix
		}
	}
	return mode
}

// regular makes the entry of a file; a size that does not fit is caught by add.
func regular(attr Attr, size int64, open func() (io.ReadCloser, error)) *entry {
	if size < 0 || size > maxSize {
		return nil
	}
	return &entry{mode: TypeRegular, attr: attr, size: uint32(size), open: open}
}

func (a *Archive) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

// add puts an entry at its name, and its parents before it.
func (a *Archive) add(name string, e *entry) {
	if a.err != nil {
		return
	}
	clean, err := cleanName(name)
	switch {
	case err != nil:
		a.fail(err)
		return
	case e == nil:
		a.fail(fmt.Errorf("%w %s: larger than 4 GiB", ErrInvalid, name))
		return
	case e.attr.Mode&^permMask != 0:
		a.fail(fmt.Errorf("%w %s: mode %#o has more than permission bits", ErrInvalid, name, e.attr.Mode))
		return
	}
	if a.entries == nil {
		a.entries = map[string]*entry{}
	}
	for i := range len(clean) {
		if clean[i] == '/' {
			if parent := a.entries[clean[:i]]; parent == nil {
				a.entries[clean[:i]] = &entry{
					name: clean[:i], mode: TypeDir, attr: Attr{Mode: impliedDirMode},
				}
			} else if parent.mode != TypeDir {
				a.fail(fmt.Errorf("%w %s: %s is not a directory", ErrInvalid, name, clean[:i]))
				return
			}
		}
	}
	if old := a.entries[clean]; old != nil && (old.mode != TypeDir || e.mode != TypeDir) {
		a.fail(fmt.Errorf("%w %s: there is one already", ErrInvalid, name))
		return
	}
	e.name = clean
	a.entries[clean] = e
}

// cleanName returns the path as it stands in the archive. A root of its own ("."),
// which some archivers write, changes nothing in the guest and is refused with
// all paths that leave it.
func cleanName(name string) (string, error) {
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	switch {
	case clean == "" || strings.IndexByte(clean, 0) >= 0 || clean == trailer:
		return "", fmt.Errorf("%w: name %q", ErrInvalid, name)
	case slices.Contains(strings.Split(name, "/"), ".."):
		return "", fmt.Errorf("%w: name %q leaves its directory", ErrInvalid, name)
	case len(clean) >= maxName:
		return "", fmt.Errorf("%w: name of %d bytes", ErrInvalid, len(clean))
	}
	return clean, nil
}
