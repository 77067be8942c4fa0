package load

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// iocb and ioEvent are the kernel's (include/uapi/linux/aio_abi.h).
type iocb struct {
	data   uint64
	_      [2]uint32 // key, flags of the request
	opcode uint16
	_      int16 // priority
	fd     uint32
	buf    uint64
	bytes  uint64
	offset int64
	_      uint64
	_      [2]uint32 // flags and descriptor of a notification
}

type ioEvent struct {
	data   uint64
	_      uint64 // the iocb
	result int64
	_      int64
}

const (
	cmdPread  = 0 // IOCB_CMD_PREAD
	cmdPwrite = 1 // IOCB_CMD_PWRITE
)

// aio is an AIO context with one buffer for each request that may be under way.
type aio struct {
	context uintptr
	blocks  []iocb
	events  []ioEvent
	slots   []int
	memory  []byte // of the kernel's, so that it never moves
	size    int
}

func newAIO(fd, blockSize, depth int) (*aio, error) {
	stride := (blockSize + alignment - 1) &^ (alignment - 1)
	memory, err := unix.Mmap(-1, 0, stride*depth, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("buffers of %d bytes: %w", stride*depth, err)
	}
	a := &aio{blocks: make([]iocb, depth), events: make([]ioEvent, depth), slots: make([]int, 0, depth), memory: memory, size: blockSize}
	for i := range a.blocks {
		a.blocks[i] = iocb{
			data: uint64(i), fd: uint32(fd), bytes: uint64(blockSize),
			buf: uint64(uintptr(unsafe.Pointer(&memory[i*stride]))),
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, uintptr(depth), uintptr(unsafe.Pointer(&a.context)), 0); errno != 0 {
		_ = unix.Munmap(memory)
		return nil, fmt.Errorf("io_setup: %w", errno)
	}
	return a, nil
}

// submit starts the request of slot i at an offset in bytes.
func (a *aio) submit(i int, write bool, offset int64) error {
	a.blocks[i].offset, a.blocks[i].opcode = offset, cmdPread
	if write {
		a.blocks[i].opcode = cmdPwrite
	}
	list := &a.blocks[i]
	for {
		_, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, a.context, 1, uintptr(unsafe.Pointer(&list)))
		switch errno {
		case 0:
			return nil
		case unix.EAGAIN, unix.EINTR:
			continue
		}
		return fmt.Errorf("io_submit at offset %d: %w", offset, errno)
	}
}

// wait gives the slots whose requests are done, at least one.
func (a *aio) wait() ([]int, error) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, a.context, 1, uintptr(len(a.events)), uintptr(unsafe.Pointer(&a.events[0])), 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return nil, fmt.Errorf("io_getevents: %w", errno)
		}
		a.slots = a.slots[:0]
		for _, e := range a.events[:n] {
			if e.result != int64(a.size) {
				return nil, fmt.Errorf("request at offset %d gave %d, want %d bytes", a.blocks[e.data].offset, e.result, a.size)
			}
			a.slots = append(a.slots, int(e.data))
		}
		return a.slots, nil
	}
}

func (a *aio) close() {
	_, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, a.context, 0, 0)
	_ = unix.Munmap(a.memory)
}
