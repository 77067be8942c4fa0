package virtiotest

import (
	"unsafe"

	"github.com/gureum/gureum/guest/memory"
)

// touchBehind writes the byte behind the end of guest RAM.
func touchBehind(m *memory.Memory) {
	ram, err := m.Slice(0, memorySize)
	if err != nil {
		return
	}
	*(*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(ram)), memorySize)) = 1
}
