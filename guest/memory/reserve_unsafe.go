package memory

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// guardBytes is the least no-access room on each side of a region: an overrun of
// some library's pointer or of vhost dies there and does not reach other memory.
const guardBytes = 64 << 10

// mapping is a range of host address space that is ours.
type mapping struct {
	addr unsafe.Pointer
	size uintptr
}

func (m mapping) unmap() error {
	if err := unix.MunmapPtr(m.addr, m.size); err != nil {
		return fmt.Errorf("unmap guest memory: %w", err)
	}
	return nil
}

// reserve gets host memory for one region of RAM with guards round it. First the
// whole range is taken without access, then the RAM is mapped in its midst.
func reserve(size uint64, cfg Config) (mapping, []byte, error) {
	align := max(uint64(cfg.HugePages), uint64(Page2M))
	total := uintptr(size + align + 2*guardBytes)
	addr, err := unix.MmapPtr(-1, 0, nil, total, unix.PROT_NONE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return mapping{}, nil, fmt.Errorf("reserve %d MiB of address space for guest memory: %w: see 'ulimit -v'", size>>20, err)
	}
	res := mapping{addr, total}
	first := uintptr(addr) + guardBytes
	pad := (uintptr(align) - first%uintptr(align)) % uintptr(align)
	base := unsafe.Add(addr, guardBytes+pad)
	if err := mapRAM(base, size, cfg); err != nil {
		return mapping{}, nil, errors.Join(err, res.unmap())
	}
	return res, unsafe.Slice((*byte)(base), size), nil
}

// mapRAM maps RAM at base, inside a range that reserve took.
func mapRAM(base unsafe.Pointer, size uint64, cfg Config) error {
	flags := unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED
	switch cfg.HugePages {
	case Page2M:
		flags |= unix.MAP_HUGETLB | unix.MAP_HUGE_2MB
	case Page1G:
		flags |= unix.MAP_HUGETLB | unix.MAP_HUGE_1GB
	default:
		// Huge pages are reserved, so that a lack shows here and not as a bus
		// error later; ordinary ones are not, so that any size can be had.
		flags |= unix.MAP_NORESERVE
	}
	if _, err := unix.MmapPtr(-1, 0, base, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, flags); err != nil {
		return noRAM(size, cfg.HugePages, err)
	}
	return advise(base, uintptr(size), cfg.THP)
}

// advise keeps RAM out of children (a fork would have to copy its page tables)
// and out of core dumps (which would hold the guest's secrets, and its size).
func advise(base unsafe.Pointer, size uintptr, thp bool) error {
	mem := unsafe.Slice((*byte)(base), size)
	for _, a := range [...]int{unix.MADV_DONTFORK, unix.MADV_DONTDUMP} {
		if err := unix.Madvise(mem, a); err != nil && err != unix.EINVAL {
			return fmt.Errorf("madvise %d on guest memory: %w", a, err)
		}
	}
	if thp {
		// EINVAL: a host kernel without THP. It is a wish, not a need.
		if err := unix.Madvise(mem, unix.MADV_HUGEPAGE); err != nil && err != unix.EINVAL {
			return fmt.Errorf("ask for transparent huge pages: %w", err)
		}
	}
	return nil
}

// noRAM words the failure to map RAM so that its reader knows what to do.
func noRAM(size uint64, page PageSize, err error) error {
	if page == PageDefault {
		return fmt.Errorf("map %d MiB of guest memory: %w: does the host forbid overcommit (sysctl vm.overcommit_memory)?", size>>20, err)
	}
	free := "no such pages"
	kib := uint64(page) >> 10
	text, rerr := os.ReadFile(fmt.Sprintf("/sys/kernel/mm/hugepages/hugepages-%dkB/free_hugepages", kib))
	if rerr == nil {
		free = strings.TrimSpace(string(text)) + " free"
	}
	hint := "reserve with 'sysctl vm.nr_hugepages=N'"
	if page == Page1G {
		hint = "reserve with the host's kernel parameters 'hugepagesz=1G hugepages=N'"
	}
	return fmt.Errorf("map guest memory on %d huge pages of %d KiB (host has %s): %w: %s",
		size/uint64(page), kib, free, err, hint)
}

// dontNeed gives anonymous pages back: they read as zero when next touched.
func dontNeed(mem []byte) error { return unix.Madvise(mem, unix.MADV_DONTNEED) }
