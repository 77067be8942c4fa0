package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Embedded is a packed ELF kernel that is part of the program.
type Embedded struct {
	// Name is for errors.
	Name string
	// Blob is the packed kernel: a single stream of one of the compressions.
	Blob []byte
	// ID names the content: 1 to 80 letters, digits, '.', '-' or '_'; a hash, as a
	// rule. It is believed, not checked, and a changed kernel needs a new one.
	ID string
	// Size is that of the unpacked ELF. If it is 0, the last four bytes of Blob
	// hold it, behind the stream, as in a bzImage.
	Size uint64
	// Version is what Image.Version returns.
	Version string
	// Static says that Blob lies in the program's read-only data (go:embed): its
	// pages are given back once the kernel is unpacked, since they can be read from
	// the program's file again. Never set it for memory that can be written.
	Static bool
}

// maxID leaves room for the prefix in the cache's trailer.
const maxID = 80

// OpenEmbedded opens a kernel that is part of the program. The first start
// unpacks it into the cache; later ones find it there by its ID and neither read
// nor hash the blob.
func OpenEmbedded(e Embedded, o Options) (*Image, error) {
	img := &Image{
		name: e.Name, format: FormatELF, compression: detect(e.Blob),
		file: readerAt(e.Blob), size: uint64(len(e.Blob)), given: e.Version,
	}
	if err := img.openEmbedded(e, o); err != nil {
		return nil, errors.Join(fmt.Errorf("embedded kernel %s: %w", e.Name, err), img.Close())
	}
	return img, nil
}

func (img *Image) openEmbedded(e Embedded, o Options) error {
	if !validID(e.ID) {
		return fmt.Errorf("ID %q: want 1 to %d letters, digits, '.', '-', '_'", e.ID, maxID)
	}
	name := embeddedPrefix + e.ID
	if !o.NoCache && img.useCached(name, o, true) {
		return nil
	}
	stream, size := e.Blob, e.Size
	if size == 0 {
		var err error
		if stream, size, err = payloadStream(img.compression, e.Blob); err != nil {
			return err
		}
	}
	err := img.unpackTo(stream, size, trailer{name: name, label: e.Version, format: FormatELF}, o)
	if e.Static {
		dropStatic(e.Blob)
	}
	return err
}

func validID(id string) bool {
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
			return false
		}
	}
	return len(id) > 0 && len(id) <= maxID
}

// dropStatic takes the whole pages of b out of our resident set.
func dropStatic(b []byte) {
	if pages := wholePages(b); len(pages) > 0 {
		_ = unix.Madvise(pages, unix.MADV_DONTNEED) // thrift, no need
	}
}
