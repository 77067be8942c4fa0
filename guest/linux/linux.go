// Package linux holds Gureum's default guest kernel: a lean Linux, built from
// Debian's kernel source by the recipe beside this file, packed into one file
// that the program embeds.
//
// The machine's composition (package vm) takes the blob from here and gives it
// to guest/kernel, which unpacks it once into its cache under the content hash
// and maps it from there afterwards. This package never unpacks, parses or
// hashes anything: importing it costs no instruction at start-up and no
// resident memory until the blob is read.
//
// The kernel itself is under the GNU General Public License, version 2, with
// the system call exception (COPYING); MANIFEST names the source package, its
// version, compiler and configuration. docs/guest-kernel.md tells what is in
// it and why.
package linux

import _ "embed"

//go:embed vmlinux.lz4
var image []byte

// Image returns the packed kernel and the name of its content. The blob is an
// LZ4 stream in the legacy frame that the kernel's own images use, and holds an
// x86-64 ELF vmlinux of Size bytes; id is the SHA-256 of that ELF as 64
// hexadecimal digits, the key under which to cache it. The blob is shared: do
// not change it.
func Image() (blob []byte, id string) {
	return image, kernelID
}

// Size returns the length of the unpacked ELF in bytes.
func Size() int64 {
	return kernelSize
}

// Version returns the kernel's release as `uname -r` prints it in the guest,
// such as "6.12.117-gureum".
func Version() string {
	return kernelVersion
}
