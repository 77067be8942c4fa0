package exits

import _ "embed"

// image is the guest, an ELF kernel with a PVH entry. guest/compile.sh makes it; a test holds
// that it makes the same bits.
//
//go:embed guest/exits.elf
var image []byte
