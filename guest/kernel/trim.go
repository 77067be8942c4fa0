package kernel

import (
	"encoding/binary"

	"github.com/gureum/gureum/guest/memory"
)

// trimELF takes zeros off the ends of an ELF file's segments where that saves
// pages. Linux files hold their .bss in the file (some 14 MiB of it, because
// sections lie behind it in the same segment); as RAM that nobody has touched it
// costs nothing until the guest uses it. b was accepted by parseELF.
func trimELF(b []byte) {
	le := binary.LittleEndian
	table := b[le.Uint64(b[32:]):]
	for i := range int(le.Uint16(b[56:])) {
		h := table[i*elfSegmentSize:][:elfSegmentSize]
		size := le.Uint64(h[32:])
		if le.Uint32(h) != segmentLoad || le.Uint64(h[40:]) == 0 || size == 0 {
			continue
		}
		data := b[le.Uint64(h[8:]):][:size]
		if end := uint64(lastNonZero(data)); size-end >= memory.PageBytes {
			le.PutUint64(h[32:], end)
		}
	}
}

// lastNonZero is the length of b without the zeros at its end.
func lastNonZero(b []byte) int {
	n := len(b)
	for n >= 8 && binary.LittleEndian.Uint64(b[n-8:]) == 0 {
		n -= 8
	}
	for n > 0 && b[n-1] == 0 {
		n--
	}
	return n
}
