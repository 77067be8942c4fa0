package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/therootcompany/xz"
)

// Offsets in a bzImage (Linux, Documentation/arch/x86/boot.rst).
const (
	offSetupSects    = 0x1f1
	offBootMagic     = 0x202
	offPayloadOffset = 0x248
	offPayloadLength = 0x24c
)

// maxVmlinux bounds what a kernel may unpack to, in bytes.
const maxVmlinux = 1 << 30

// unpackKernel writes the ELF kernel that a bzImage carries. L1 then starts
// without unpacking itself, which takes seconds under emulation.
func unpackKernel(vmlinuz, dst string) error {
	image, err := os.ReadFile(vmlinuz)
	if err != nil {
		return err
	}
	payload, err := kernelPayload(image)
	if err != nil {
		return fmt.Errorf("%s: %w", vmlinuz, err)
	}
	r, err := xz.NewReader(bytes.NewReader(payload), 0)
	if err != nil {
		return fmt.Errorf("unpack %s: %w", vmlinuz, err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(dst), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if _, err := io.Copy(tmp, io.LimitReader(r, maxVmlinux)); err != nil {
		return fmt.Errorf("unpack %s: %w", vmlinuz, err)
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), dst)
}

// kernelPayload finds the compressed kernel in a bzImage.
func kernelPayload(image []byte) ([]byte, error) {
	if len(image) < 0x268 || string(image[offBootMagic:offBootMagic+4]) != "HdrS" {
		return nil, errors.New("not a bzImage")
	}
	start := (uint64(image[offSetupSects]) + 1) * 512
	start += uint64(binary.LittleEndian.Uint32(image[offPayloadOffset:]))
	size := uint64(binary.LittleEndian.Uint32(image[offPayloadLength:]))
	// The last four bytes are the unpacked size, not part of the stream.
	if size < 4 || start+size > uint64(len(image)) {
		return nil, errors.New("bzImage payload outside of the file")
	}
	return image[start : start+size-4], nil
}
