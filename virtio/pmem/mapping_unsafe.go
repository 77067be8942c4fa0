package pmem

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const pageSize = 4096

// mapping is address space of this process that holds the file.
type mapping struct {
	reserved unsafe.Pointer
	size     uintptr
	start    unsafe.Pointer // aligned to Align
}

func (m mapping) base() uintptr { return uintptr(m.start) }

func (m mapping) unmap() error {
	if err := unix.MunmapPtr(m.reserved, m.size); err != nil {
		return fmt.Errorf("unmap persistent memory: %w", err)
	}
	return nil
}

// mapFile maps size bytes of f at a multiple of Align, so that KVM can use huge
// pages, and zeroes behind it up to padded.
func mapFile(f *os.File, size, padded uint64, readOnly bool) (mapping, error) {
	total := uintptr(padded + Align)
	reserved, err := unix.MmapPtr(-1, 0, nil, total, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return mapping{}, err
	}
	pad := (Align - uintptr(reserved)%Align) % Align
	m := mapping{reserved: reserved, size: total, start: unsafe.Add(reserved, pad)}
	prot := unix.PROT_READ
	if !readOnly {
		prot |= unix.PROT_WRITE
	}
	if err := m.fill(f, size, padded, prot); err != nil {
		return mapping{}, errors.Join(err, m.unmap())
	}
	return m, nil
}

func (m mapping) fill(f *os.File, size, padded uint64, prot int) error {
	inFile := uintptr((size + pageSize - 1) &^ (pageSize - 1))
	_, err := unix.MmapPtr(int(f.Fd()), 0, m.start, inFile, prot, unix.MAP_SHARED|unix.MAP_FIXED)
	if err != nil {
		return err
	}
	if tail := uintptr(padded) - inFile; tail > 0 {
		_, err = unix.MmapPtr(-1, 0, unsafe.Add(m.start, inFile), tail, prot,
			unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED|unix.MAP_NORESERVE)
		if err != nil {
			return err
		}
	}
	// A core dump need not hold the image, nor a child map it.
	view := unsafe.Slice((*byte)(m.start), padded)
	return errors.Join(unix.Madvise(view, unix.MADV_DONTDUMP), unix.Madvise(view, unix.MADV_DONTFORK))
}
