package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"unicode/utf8"
)

// headSniff is how much of a file is read to see what it is.
const headSniff = 4096

// openRegular opens a regular file for reading. Other files are refused before
// they are opened, and never waited for: a pipe without a writer would block, and
// a device may do anything.
func openRegular(path string) (*os.File, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s: %w: %s", path, ErrNotKernel, kindOf(st.Mode()))
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w: is it readable for this user?", err)
	}
	return f, err
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe: write it to a file first"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "not a regular file"
}

// sniff says what a file is that starts with head and is no kernel.
func sniff(head []byte, size uint64) string {
	if size == 0 {
		return "the file is empty"
	}
	for _, k := range [...]struct {
		offset int
		magic  string
		what   string
	}{
		{0, "MZ", "an EFI program without a Linux setup header (a unified kernel image? take the .linux section out of it)"},
		{0, "QFI\xfb", "a qcow2 disk image"},
		{0, "070701", "a cpio archive (an initramfs?)"},
		{0, "070707", "a cpio archive (an initramfs?)"},
		{0, "#!", "a script"},
		{0, "!<arch>", "an archive (a Debian package?)"},
		{0, "PK\x03\x04", "a zip archive"},
		{0, "\x27\x05\x19\x56", "a U-Boot image"},
		{0, "\xd0\x0d\xfe\xed", "a device tree or FIT image"},
		{56, "ARM\x64", "a kernel for arm64, not x86-64"},
		{56, "RSC\x05", "a kernel for RISC-V, not x86-64"},
		{257, "ustar", "a tar archive"},
		{0x8001, "CD001", "an ISO image"},
	} {
		if len(head) >= k.offset && bytes.HasPrefix(head[k.offset:], []byte(k.magic)) {
			return k.what
		}
	}
	switch c := detect(head); {
	case c == LZMA && (len(head) < 13 || head[4] != 0): // its magic is weak
	case c != UnknownCompression:
		return fmt.Sprintf("a bare %s file (an initramfs or a packed vmlinux? unpack it first)", c)
	}
	switch {
	case isText(head):
		return "a text file"
	case len(bytes.Trim(head, "\x00")) == 0:
		return "the file holds zeros"
	case len(head) >= 512 && binary.LittleEndian.Uint16(head[510:]) == bootFlag:
		return "a boot sector or disk image (or a Linux kernel older than 1.3.73)"
	}
	return "neither an ELF file nor a bzImage"
}

// isText tells whether all of head looks like text.
func isText(head []byte) bool {
	for i := 0; i < len(head); {
		r, n := utf8.DecodeRune(head[i:])
		switch {
		case r == utf8.RuneError && n == 1 && len(head)-i >= utf8.UTFMax:
			return false
		case r < ' ' && r != '\n' && r != '\r' && r != '\t' && r != '\f' && r != 0x1b:
			return false
		}
		i += n
	}
	return true
}
