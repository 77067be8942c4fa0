package lab

import (
	"os"
	"path/filepath"

	"github.com/gureum/gureum/guest/kernel"
)

// unpackKernel writes the ELF kernel that an image carries. L1 then starts
// without unpacking itself, which takes seconds under emulation.
func unpackKernel(image, dst string) error {
	tmp, err := os.CreateTemp(filepath.Dir(dst), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if err := kernel.Extract(image, tmp); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), dst)
}
