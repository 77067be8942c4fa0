// Package memory is the guest's RAM: host address space that is reserved when
// the machine is made and gets pages only when the guest (or a loader) touches
// them, and the checked ways to reach it by guest physical address (GPA).
//
// The machine (vm) makes one Memory and hands its Regions to KVM as memory
// slots. Loaders (guest/kernel, guest/boot, ...) and devices read and write it by
// GPA through the methods here and by no other way: a GPA comes from a file or
// from a hostile guest, so each access is checked, and one that does not lie
// wholly in RAM is an *AccessError.
//
// The package never touches a page by itself, never knows about KVM, and never
// trusts a length. It does not order accesses of different goroutines: guest
// RAM is shared with running vCPUs, so whoever needs an order uses the atomic
// 16, 32 and 64-bit accesses.
package memory

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// PageSize is a size of host pages, in bytes, that back guest RAM.
type PageSize uint64

// The page sizes that Config.HugePages takes.
const (
	PageDefault PageSize = 0 // ordinary pages
	Page2M      PageSize = 2 << 20
	Page1G      PageSize = 1 << 30
)

// Config describes the RAM of one machine.
type Config struct {
	// Size in bytes, MinSize to MaxSize, a multiple of the page size.
	Size uint64
	// HugePages, if not PageDefault, backs RAM by pages of hugetlbfs. They are
	// reserved (not touched) by New, which fails if the host has too few.
	HugePages PageSize
	// THP asks the host to back RAM by transparent huge pages. Without it the
	// host's own policy holds (/sys/kernel/mm/transparent_hugepage/enabled).
	THP bool
}

// Region is a run of RAM that is contiguous in guest and in host addresses: one
// KVM memory slot. GPA and Size are multiples of the page size, and Host is
// congruent to GPA modulo 2 MiB so that KVM can map huge pages.
type Region struct {
	GPA, Size uint64
	Host      uintptr
}

// Memory is the RAM of one machine. Its methods may be called from any
// goroutine; Close must not run while another access is under way.
type Memory struct {
	size uint64
	huge PageSize
	ram  atomic.Pointer[[]block] // nil once closed

	giveBack sync.Mutex // Discard and Close, of which one must not unmap under the other
}

// block is one region with its host memory.
type block struct {
	gpa uint64
	mem []byte  // exactly the RAM
	res mapping // RAM with the guards round it
}

// ErrClosed is returned by each access after Close.
var ErrClosed = errors.New("guest memory is closed")

// New reserves guest RAM. Nothing is touched: a fresh machine of any size costs
// address space only. The RAM reads as zero.
func New(cfg Config) (*Memory, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m := &Memory{size: cfg.Size, huge: cfg.HugePages}
	blocks := make([]block, 0, 2)
	for _, r := range split(cfg.Size) {
		res, mem, err := reserve(r.Size, cfg)
		if err != nil {
			return nil, errors.Join(err, release(blocks))
		}
		blocks = append(blocks, block{gpa: r.GPA, mem: mem, res: res})
	}
	m.ram.Store(&blocks)
	return m, nil
}

// Validate checks cfg without looking at the host.
func (cfg Config) Validate() error {
	page := uint64(PageBytes)
	switch cfg.HugePages {
	case PageDefault:
	case Page2M, Page1G:
		page = uint64(cfg.HugePages)
	default:
		return fmt.Errorf("huge pages of %d bytes: want 2 MiB or 1 GiB", uint64(cfg.HugePages))
	}
	switch {
	case cfg.Size < MinSize:
		return fmt.Errorf("guest memory of %d bytes: at least %d MiB are needed", cfg.Size, MinSize>>20)
	case cfg.Size > MaxSize:
		return fmt.Errorf("guest memory of %d bytes: at most %d TiB are possible", cfg.Size, MaxSize>>40)
	case cfg.Size%page != 0:
		return fmt.Errorf("guest memory of %d bytes: not a multiple of the page size %d", cfg.Size, page)
	}
	return nil
}

// split cuts RAM of the given size in two at the MMIO hole.
func split(size uint64) []Region {
	if size <= HoleStart {
		return []Region{{GPA: 0, Size: size}}
	}
	return []Region{{GPA: 0, Size: HoleStart}, {GPA: HoleEnd, Size: size - HoleStart}}
}

// Size is the amount of RAM in bytes, the MMIO hole not counted.
func (m *Memory) Size() uint64 { return m.size }

// Regions lists the RAM in ascending order of GPA; nil after Close.
func (m *Memory) Regions() []Region {
	blocks := m.blocks()
	if blocks == nil {
		return nil
	}
	out := make([]Region, len(blocks))
	for i := range blocks {
		out[i] = Region{GPA: blocks[i].gpa, Size: uint64(len(blocks[i].mem)), Host: hostAddr(blocks[i].mem)}
	}
	return out
}

// Close gives the RAM back to the host. Every vCPU and device must have stopped,
// and no slice of the RAM may be used any more; later accesses through m fail
// with ErrClosed. A second Close does nothing.
func (m *Memory) Close() error {
	m.giveBack.Lock()
	defer m.giveBack.Unlock()
	blocks := m.ram.Swap(nil)
	if blocks == nil {
		return nil
	}
	return release(*blocks)
}

func release(blocks []block) error {
	var errs []error
	for i := range blocks {
		errs = append(errs, blocks[i].res.unmap())
	}
	return errors.Join(errs...)
}

func (m *Memory) blocks() []block {
	if p := m.ram.Load(); p != nil {
		return *p
	}
	return nil
}
