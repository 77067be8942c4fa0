package boot

import (
	"encoding/binary"
	"fmt"

	"github.com/gureum/gureum/guest/memory"
)

// Layout of struct hvm_start_info version 1 and of what it points to, from Xen's
// public/arch-x86/hvm/start_info.h.
const (
	startInfoMagic   = 0x336E_C578
	startInfoVersion = 1

	startInfoSize   = 56
	moduleSize      = 32
	memoryEntrySize = 24

	siMagic      = 0
	siVersion    = 4
	siModules    = 12
	siModuleList = 16
	siCmdline    = 24
	siRSDP       = 32
	siMemoryMap  = 40
	siMapEntries = 48

	// Where the lists lie: behind start_info, aligned to 8.
	moduleList = memory.PVHStartInfo + startInfoSize
	memoryList = moduleList + moduleSize
)

// pvh writes start_info, the module list (the initrd is the first and only
// module) and the memory map. Flags and the module's command line stay zero.
func (h *handover) pvh(m *memory.Memory) (Entry, error) {
	b := make([]byte, memoryList-memory.PVHStartInfo, memory.ZeroPage-memory.PVHStartInfo)
	le := binary.LittleEndian
	le.PutUint32(b[siMagic:], startInfoMagic)
	le.PutUint32(b[siVersion:], startInfoVersion)
	le.PutUint64(b[siCmdline:], memory.CommandLine)
	le.PutUint64(b[siRSDP:], h.rsdp)
	le.PutUint64(b[siMemoryMap:], memoryList)
	le.PutUint32(b[siMapEntries:], uint32(len(h.memory)))
	if size := h.initrd.End - h.initrd.Start; size > 0 {
		le.PutUint32(b[siModules:], 1)
		le.PutUint64(b[siModuleList:], moduleList)
		le.PutUint64(b[startInfoSize:], h.initrd.Start)
		le.PutUint64(b[startInfoSize+8:], size)
	}
	for _, e := range h.memory {
		b = le.AppendUint64(b, e.Start)
		b = le.AppendUint64(b, e.End-e.Start)
		b = le.AppendUint32(b, e.kind)
		b = le.AppendUint32(b, 0)
	}
	if err := m.WriteAt(b, memory.PVHStartInfo); err != nil {
		return Entry{}, fmt.Errorf("write the PVH start_info: %w", err)
	}
	return Entry{Protocol: PVH, IP: h.kernel.PVHEntry, Arg: memory.PVHStartInfo}, nil
}
