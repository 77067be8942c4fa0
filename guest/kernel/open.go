package kernel

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/memory"
)

// openELF takes an ELF file as the kernel: each start reads its segments.
func (img *Image) openELF() error {
	img.format = FormatELF
	elf, err := parseELF(img.file, img.size)
	if err != nil {
		return err
	}
	img.elf, img.elfData, img.elfSize = elf, img.file, img.size
	return nil
}

// openBzImage takes a bzImage. Its kernel comes from the cache or is unpacked
// now; one that is packed in a way we do not know has to unpack itself.
func (img *Image) openBzImage(key string, o Options) error {
	img.format = FormatBzImage
	h, err := parseBzImage(img.file, img.size)
	if err != nil {
		return err
	}
	img.header = h
	var magic [8]byte
	if err := readAt(img.file, magic[:min(uint64(len(magic)), h.payloadSize)], h.payloadOffset, img.size); err != nil {
		return fmt.Errorf("bzImage payload: %w", err)
	}
	img.compression = detect(magic[:])
	if img.recall(key, o) {
		return nil
	}
	err = img.unpackPayload(key, o)
	if errors.Is(err, errUnsupported) {
		img.unpacked = err
		return img.checkFallback()
	}
	return err
}

// recall takes the kernel that the cache has for the file of the given identity.
func (img *Image) recall(key string, o Options) bool {
	if key == "" || o.NoCache {
		return false
	}
	return img.useCached(statName(key), o, false)
}

// useCached takes the cache's kernel of that name, if it has one that is sound.
// exact wants a file of that very name, not one that the name links to.
func (img *Image) useCached(name string, o Options, exact bool) bool {
	c, err := findCache(o.CacheDir)
	if err != nil {
		return false
	}
	f, size, err := c.open(name, exact)
	if err != nil {
		return false
	}
	if err := img.useELF(f, size); err != nil {
		return false
	}
	img.cached = true
	return true
}

// unpackPayload reads the payload and unpacks it, unless the cache knows its
// content, perhaps from another file.
func (img *Image) unpackPayload(key string, o Options) error {
	h := img.header
	if img.compression == UnknownCompression || h.payloadSize > maxPayload {
		return fmt.Errorf("payload of %d bytes, compression %s: %w", h.payloadSize, img.compression, errUnsupported)
	}
	// Anonymous memory and not the heap: it goes back to the host at once. It is
	// read once, so that what is hashed is what is unpacked.
	payload, err := unix.Mmap(-1, 0, int(max(h.payloadSize, 1)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return fmt.Errorf("memory for a payload of %d bytes: %w", h.payloadSize, err)
	}
	defer func() { _ = unix.Munmap(payload) }()
	if err := readAt(img.file, payload[:h.payloadSize], h.payloadOffset, img.size); err != nil {
		return fmt.Errorf("bzImage payload: %w", err)
	}
	payload = payload[:h.payloadSize:h.payloadSize]
	name := ""
	if !o.NoCache {
		sum := sha256.Sum256(payload)
		name = payloadName(hex.EncodeToString(sum[:]))
		if img.useCached(name, o, true) {
			img.remember(key, name, o)
			return nil
		}
	}
	stream, size, err := payloadStream(img.compression, payload)
	if err != nil {
		return err
	}
	if h.initSize != 0 && size > h.initSize {
		return fmt.Errorf("corrupt bzImage: the payload states %d bytes unpacked, the header has room for %d", size, h.initSize)
	}
	if err := img.unpackTo(stream, size, trailer{name: name, label: h.version, format: FormatBzImage}, o); err != nil {
		return err
	}
	if img.cached {
		img.remember(key, name, o)
	}
	return nil
}

// unpackTo unpacks a stream into a new file, in the cache if possible, and takes
// that as the kernel.
func (img *Image) unpackTo(stream []byte, size uint64, t trailer, o Options) error {
	if size > maxUnpacked {
		return fmt.Errorf("the payload states %d bytes unpacked: at most %d are possible", size, maxUnpacked)
	}
	out, err := img.newOutput(size, o)
	if err != nil {
		return err
	}
	err = unpack(img.compression, stream, out.content())
	if img.compression != LZ4 && img.compression != Uncompressed {
		debug.FreeOSMemory() // the decoder's dictionary and tables, used once
	}
	if err == nil {
		_, err = parseELF(readerAt(out.content()), size)
	}
	if err != nil {
		return errors.Join(err, out.discard())
	}
	if !o.verbatim {
		trimELF(out.content())
	}
	f, err := out.commit(t)
	if f == nil {
		return err
	}
	if err != nil {
		img.cacheErr = err
	}
	img.cached = out.cache != nil && err == nil
	return img.useELF(f, size)
}

// newOutput makes a file for an unpacked kernel: in the cache, or in memory if
// there is none.
func (img *Image) newOutput(size uint64, o Options) (*output, error) {
	if !o.NoCache {
		c, err := makeCache(o.CacheDir)
		if err == nil {
			var out *output
			if out, err = newCacheOutput(c, size); err == nil {
				return out, nil
			}
		}
		img.cacheErr = err
	}
	return newMemoryOutput(size)
}

// remember lets the next start find the kernel by the file's identity.
func (img *Image) remember(key, name string, o Options) {
	if key == "" {
		return
	}
	c, err := findCache(o.CacheDir)
	if err == nil {
		err = c.link(statName(key), name)
	}
	if err != nil {
		img.cacheErr = err
	}
}

// checkFallback tells whether the image can boot by its own code.
func (img *Image) checkFallback() error {
	h := img.header
	if h.xloadFlags&xloadKernel64 == 0 || h.prefAddress == 0 {
		return fmt.Errorf("%w, and the image has no 64-bit entry to unpack itself", img.unpacked)
	}
	room := max(h.initSize, h.codeSize)
	switch {
	case h.codeSize <= entry64:
		return fmt.Errorf("corrupt bzImage: %d bytes of code", h.codeSize)
	case h.prefAddress < memory.KernelStart || h.prefAddress+room < room || h.prefAddress%memory.PageBytes != 0:
		return fmt.Errorf("corrupt bzImage: wants to load at %#x", h.prefAddress)
	}
	return nil
}

// loadBzImage loads the image's own code where it prefers to be, with the room
// that it needs to unpack itself.
func (img *Image) loadBzImage(m *memory.Memory) (Loaded, error) {
	h := img.header
	room := segment{gpa: h.prefAddress, memSize: max(h.initSize, h.codeSize)}
	if err := checkRoom(m, []segment{room}); err != nil {
		return Loaded{}, fmt.Errorf("kernel %s: %w", img.name, err)
	}
	if err := copyIn(m, img.file, room.gpa, h.codeOffset, h.codeSize); err != nil {
		return Loaded{}, fmt.Errorf("kernel %s: %w", img.name, err)
	}
	return Loaded{
		Entry: room.gpa + entry64, HighestGPA: room.end(),
		InitrdMax: h.initrdMax, SetupHeader: h.Raw(),
	}, nil
}
