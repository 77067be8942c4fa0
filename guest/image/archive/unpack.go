// Package archive pours archives into a file system of package ext4: root file systems as
// tar, and container images as OCI layouts or as "docker save" writes them, compressed or
// not.
//
// Package image calls it. It trusts nothing in an archive: names and links exist only
// inside the file system that is written, blobs are checked against their digests, sizes
// are bounded by the file system's, and counts by its inodes.
package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/gureum/gureum/guest/image/ext4"
)

// ErrFormat is the error of an archive that is not what it should be.
var ErrFormat = errors.New("bad archive")

// Whiteouts of OCI layers (image-spec, layer.md): a file that takes away one of a layer
// below, and one that empties its folder of all of them.
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// xattrRecord begins the names of PAX records that hold extended attributes.
const xattrRecord = "SCHILY.xattr."

// Unpack pours a tar into w. With layer it is a layer on top of what w holds: whiteouts
// take away what layers below brought. Extended attributes that ext4 has no place for are
// left out. Errors: ErrFormat, ext4.ErrPath, ext4.ErrNoSpace, and those of r.
func Unpack(w *ext4.Writer, r io.Reader, layer bool) error {
	if layer {
		w.Layer()
	}
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrFormat, err)
		}
		if err := unpackEntry(w, h, t, layer); err != nil {
			return err
		}
	}
}

func unpackEntry(w *ext4.Writer, h *tar.Header, content io.Reader, layer bool) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if layer {
		dir, base := path.Split(strings.TrimRight(h.Name, "/"))
		if base == whiteoutOpaque {
			return w.Clear(dir)
		}
		if hidden, ok := strings.CutPrefix(base, whiteoutPrefix); ok {
			if strings.HasPrefix(hidden, whiteoutPrefix) {
				return nil // aufs' own, such as .wh..wh.plnk
			}
			if hidden == "" || hidden == "." || hidden == ".." {
				return fmt.Errorf("%w: whiteout of %q", ErrFormat, h.Name)
			}
			return w.Remove(dir + hidden)
		}
	}
	if h.Typeflag == tar.TypeLink {
		return w.Link(h.Name, h.Linkname)
	}
	a, err := attributes(h)
	if err != nil {
		return err
	}
	size := h.Size
	if a.Type != ext4.TypeRegular {
		size = 0
	}
	return w.Put(h.Name, a, size, content)
}

func attributes(h *tar.Header) (ext4.Attr, error) {
	a := ext4.Attr{Perm: uint16(h.Mode & 0o7777), ModTime: h.ModTime}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		a.Type = ext4.TypeRegular
	case tar.TypeDir:
		a.Type = ext4.TypeDir
	case tar.TypeSymlink:
		a.Type, a.Target = ext4.TypeSymlink, h.Linkname
	case tar.TypeFifo:
		a.Type = ext4.TypeFIFO
	case tar.TypeChar, tar.TypeBlock:
		a.Type = ext4.TypeChar
		if h.Typeflag == tar.TypeBlock {
			a.Type = ext4.TypeBlock
		}
		if h.Devmajor < 0 || h.Devminor < 0 || h.Devmajor > 1<<20 || h.Devminor > 1<<20 {
			return a, fmt.Errorf("%w: %q: device %d:%d", ErrFormat, h.Name, h.Devmajor, h.Devminor)
		}
		a.Major, a.Minor = uint32(h.Devmajor), uint32(h.Devminor)
	default:
		return a, fmt.Errorf("%w: %q: entry of type %q", ErrFormat, h.Name, h.Typeflag)
	}
	const maxID = 1<<32 - 2
	if h.Uid < 0 || h.Gid < 0 || h.Uid > maxID || h.Gid > maxID {
		return a, fmt.Errorf("%w: %q: owner %d:%d", ErrFormat, h.Name, h.Uid, h.Gid)
	}
	a.UID, a.GID = uint32(h.Uid), uint32(h.Gid)
	for key, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, xattrRecord); ok && ext4.KeepsXattr(name) {
			if a.Xattrs == nil {
				a.Xattrs = map[string]string{}
			}
			a.Xattrs[name] = value
		}
	}
	return a, nil
}
