// Package payload writes what the guests of measurements boot.
package payload

import (
	"bytes"
	"errors"
	"io"
	"os"

	"github.com/pierrec/lz4/v4"

	"github.com/gureum/gureum/guest/initramfs"
	"github.com/gureum/gureum/guest/linux"
	"github.com/gureum/gureum/guest/userland"
)

// WriteKernel writes the embedded kernel, unpacked.
func WriteKernel(path string) error {
	return write(path, func(w io.Writer) error {
		blob, _ := linux.Image()
		_, err := io.Copy(w, lz4.NewReader(bytes.NewReader(blob)))
		return err
	})
}

// WriteInitrd writes the embedded user land with an archive and programs laid over it.
func WriteInitrd(path string, archive *initramfs.Archive, programs map[string][]byte) error {
	return write(path, func(w io.Writer) error {
		if _, err := w.Write(userland.Archive()); err != nil {
			return err
		}
		for name, data := range programs {
			archive.File(name, initramfs.Attr{Mode: 0o755}, data)
		}
		_, err := archive.WriteTo(w)
		return err
	})
}

func write(path string, to func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(to(f), f.Close())
}
