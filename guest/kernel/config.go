package kernel

import (
	"bytes"
	"compress/gzip"
	"io"
)

// found is what a search of an ELF kernel's bytes brings.
type found struct {
	version string // "Linux version ...", "" if there is none
	config  []byte // nil if there is none
}

const (
	bannerStart = "Linux version "
	bannerMax   = 512
	configStart = "IKCFG_ST" // kernel/configs.c; a gzip stream follows

	searchChunk = 1 << 20
	// searchOverlap is what of a chunk is searched again with the next, so that a
	// banner that crosses is seen whole.
	searchOverlap = bannerMax
)

// search looks for the banner and the configuration in size bytes of r.
func search(r io.ReaderAt, size uint64) found {
	var out found
	buf := make([]byte, searchChunk+searchOverlap)
	for at := uint64(0); at < size && (out.version == "" || out.config == nil); at += searchChunk {
		chunk := buf[:min(uint64(len(buf)), size-at)]
		if readAt(r, chunk, at, size) != nil {
			break
		}
		if out.version == "" {
			out.version = banner(chunk, searchChunk)
		}
		if out.config != nil {
			continue
		}
		for rest, skip := chunk, 0; ; {
			i := bytes.Index(rest, []byte(configStart))
			if i < 0 {
				break
			}
			skip += i + len(configStart)
			rest = chunk[skip:]
			start := at + uint64(skip)
			if out.config = gunzipConfig(io.NewSectionReader(r, int64(start), int64(size-start))); out.config != nil {
				break
			}
		}
	}
	return out
}

// banner finds a version banner that starts in the first limit bytes of chunk and
// is text, not the format string of one.
func banner(chunk []byte, limit int) string {
	for at := 0; ; at += len(bannerStart) {
		i := bytes.Index(chunk[at:], []byte(bannerStart))
		if at += i; i < 0 || at >= limit || at+len(bannerStart) >= len(chunk) {
			return ""
		}
		text := chunk[at:min(len(chunk), at+bannerMax)]
		if c := text[len(bannerStart)]; c >= '0' && c <= '9' {
			line, _, _ := bytes.Cut(text, []byte("\n"))
			return printable(line)
		}
	}
}

// gunzipConfig unpacks a configuration, nil if it is none.
func gunzipConfig(r io.Reader) []byte {
	zr, err := gzip.NewReader(r)
	if err != nil {
		return nil
	}
	zr.Multistream(false)
	config, err := io.ReadAll(io.LimitReader(zr, maxConfig+1))
	if err != nil || len(config) > maxConfig || !isText(config) {
		return nil
	}
	return config
}

// Fact is an option of the kernel's configuration and its value: "y", "m", "n", a
// number or a string.
type Fact struct {
	Option, Value string
}

// factOptions are the options that decide what a guest can do on this machine.
func factOptions() []string {
	return []string{
		"CONFIG_PVH", "CONFIG_KVM_GUEST", "CONFIG_SMP", "CONFIG_NR_CPUS", "CONFIG_X86_X2APIC",
		"CONFIG_ACPI", "CONFIG_X86_MPPARSE", "CONFIG_PCI", "CONFIG_RELOCATABLE", "CONFIG_RANDOMIZE_BASE",
		"CONFIG_SERIAL_8250_CONSOLE", "CONFIG_BLK_DEV_INITRD", "CONFIG_DEVTMPFS", "CONFIG_MODULES",
		"CONFIG_VIRTIO_PCI", "CONFIG_VIRTIO_MMIO", "CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES",
		"CONFIG_VIRTIO_BLK", "CONFIG_VIRTIO_NET", "CONFIG_VIRTIO_CONSOLE", "CONFIG_VIRTIO_VSOCKETS",
		"CONFIG_VIRTIO_FS", "CONFIG_VIRTIO_PMEM", "CONFIG_VIRTIO_BALLOON", "CONFIG_HW_RANDOM_VIRTIO",
		"CONFIG_EXT4_FS", "CONFIG_OVERLAY_FS", "CONFIG_CGROUPS", "CONFIG_NAMESPACES", "CONFIG_SECCOMP",
	}
}

// facts picks the options of factOptions out of a configuration. Options that it
// does not set are "n". No configuration, no facts.
func facts(config []byte) []Fact {
	if config == nil {
		return nil
	}
	values := map[string]string{}
	for line := range bytes.Lines(config) {
		if !bytes.HasPrefix(line, []byte("CONFIG_")) {
			continue
		}
		option, value, ok := bytes.Cut(bytes.TrimSpace(line), []byte("="))
		if ok {
			values[string(option)] = printable(bytes.Trim(value, `"`))
		}
	}
	var out []Fact
	for _, option := range factOptions() {
		value, ok := values[option]
		if !ok {
			value = "n"
		}
		out = append(out, Fact{option, value})
	}
	return out
}
