package kernel

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// output is a new file for an ELF kernel, as memory to write to: decoders write
// where the bytes belong, and what they wrote is their window.
type output struct {
	cache  *cache // nil: the file is in memory and has no name
	f      *os.File
	mem    []byte // ELF and trailer; nil once they are written
	shared bool   // mem is the file's pages; else it must be written to it
	size   uint64 // of the ELF
}

// newCacheOutput makes a file of size bytes in the cache. Its blocks are
// allocated first: a full disk is an error here and not a bus error later.
func newCacheOutput(c *cache, size uint64) (*output, error) {
	c.prune()
	f, err := os.CreateTemp(c.dir, tempPrefix)
	if err != nil {
		return nil, fmt.Errorf("kernel cache: %w", err)
	}
	out := &output{cache: c, f: f, size: size}
	if err := out.allocate(); err != nil {
		return nil, errors.Join(fmt.Errorf("kernel cache %s: room for %d bytes: %w", c.dir, size, err), out.discard())
	}
	return out, nil
}

// newMemoryOutput makes a file of size bytes that lives as long as it is open.
func newMemoryOutput(size uint64) (*output, error) {
	fd, err := unix.MemfdCreate("gureum-kernel", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("memory for a kernel: %w", err)
	}
	out := &output{f: os.NewFile(uintptr(fd), "memfd:gureum-kernel"), size: size}
	if err := out.allocate(); err != nil {
		return nil, errors.Join(fmt.Errorf("memory for a kernel of %d bytes: %w", size, err), out.discard())
	}
	return out, nil
}

// allocate gets room in the file and maps it. File systems that cannot promise
// room get the bytes by write, which fails in an orderly way.
func (out *output) allocate() error {
	total := int64(out.size) + trailerSize
	fd, flags := int(out.f.Fd()), unix.MAP_SHARED
	err := retryEINTR(func() error { return unix.Fallocate(fd, 0, 0, total) })
	switch {
	case err == nil:
		out.shared = true
	case cannot(err):
		fd, flags = -1, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS
	default:
		return err
	}
	mem, err := unix.Mmap(fd, 0, int(total), unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil && out.shared { // a file system that cannot map shared
		out.shared = false
		mem, err = unix.Mmap(-1, 0, int(total), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	}
	out.mem = mem
	return err
}

// content is where the ELF goes.
func (out *output) content() []byte { return out.mem[:out.size:out.size] }

// commit ends the writing and gives the file its name. If that fails but the file
// is whole, it returns both the file and the error; the file has no name then.
func (out *output) commit(t trailer) (*os.File, error) {
	t.size = out.size
	if err := out.writeBack(t); err != nil {
		return nil, errors.Join(fmt.Errorf("write the unpacked kernel: %w", err), out.discard())
	}
	fd := int(out.f.Fd())
	if out.cache == nil {
		// Nobody, not even we, can change what machines get from now on.
		const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
		return out.f, nil
	}
	// The name must not outlive a crash of the host that the bytes do not.
	err := retryEINTR(func() error { return unix.Fdatasync(fd) })
	if err == nil {
		err = out.f.Chmod(0o400)
	}
	if err == nil {
		err = os.Rename(out.f.Name(), out.cache.path(t.name))
	}
	if err != nil {
		return out.f, errors.Join(fmt.Errorf("kernel cache: %w", err), os.Remove(out.f.Name()))
	}
	return out.f, nil
}

// writeBack completes the file's content.
func (out *output) writeBack(t trailer) error {
	t.encode(out.mem[out.size:])
	if !out.shared {
		if _, err := out.f.WriteAt(out.mem, 0); err != nil {
			return err
		}
	}
	return out.unmap()
}

func (out *output) unmap() error {
	mem := out.mem
	out.mem = nil
	if mem == nil {
		return nil
	}
	return unix.Munmap(mem)
}

// discard gives up the file.
func (out *output) discard() error {
	err := errors.Join(out.unmap(), out.f.Close())
	if out.cache != nil {
		err = errors.Join(err, os.Remove(out.f.Name()))
	}
	return err
}

// cannot tells that a file system lacks a call, from that it failed.
func cannot(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) ||
		errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV)
}

func retryEINTR(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
