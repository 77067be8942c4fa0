// Package userland holds the default guest's user land: an initramfs with our
// init (guest/init), Debian's busybox and a few files, packed into one file that
// the program embeds. MANIFEST tells what is in it, `make userland` makes it anew.
//
// The archive has two parts, each a whole number of pages: first the overlay,
// which is init alone as /.gureum/init, then all else. A machine with a user's
// own initrd gets the overlay behind that, and rdinit=/.gureum/init on its command
// line: init then runs the programs of the user's initrd, and none of its files is
// overwritten.
//
// Package vm calls [Open] and [OpenOverlay]: nothing is unpacked but once per host.
// Importing the package costs no instruction at start-up.
package userland

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// packed is a string, which the compiler puts among what is never written: a process that
// has read it gives its pages back with those of the rest of the program.
//
//go:embed userland.cpio.zst
var packed string

// InitPath is where the overlay has init, for rdinit=.
const InitPath = "/.gureum/init"

// Blob returns the packed archive, one zstd frame (RFC 8878), and the SHA-256 of
// the unpacked one as 64 hexadecimal digits.
func Blob() (blob, id string) { return packed, archiveID }

// Size is the length of the unpacked archive in bytes, a multiple of 4096.
func Size() int64 { return archiveSize }

// OverlaySize is the length of the overlay, the archive's first bytes, a multiple
// of 4096.
func OverlaySize() int64 { return overlaySize }

// Archive unpacks the archive into memory. A machine that starts uses Open, which
// is cheaper but for the first time.
func Archive() []byte {
	var b bytes.Buffer
	b.Grow(archiveSize)
	if err := unpack(&b); err != nil {
		panic("embedded user land: " + err.Error()) // the program's file is damaged
	}
	return b.Bytes()
}

// Overlay is Archive cut to its overlay.
func Overlay() []byte { return Archive()[:overlaySize:overlaySize] }

var errDamaged = errors.New("its content is not what it should be: the program's file is damaged")

// unpack writes the archive to w, and checks it.
func unpack(w io.Writer) error {
	dec, err := zstd.NewReader(strings.NewReader(packed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		return err
	}
	defer dec.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), dec)
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	if n != archiveSize || hex.EncodeToString(h.Sum(nil)) != archiveID {
		return errDamaged
	}
	return nil
}
