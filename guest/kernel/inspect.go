package kernel

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Info is all that can be told of a kernel image without starting it.
type Info struct {
	Path        string
	Format      Format
	Compression Compression
	Protocols   Protocols
	// Version is the string of the setup header or of the kernel's banner.
	Version string
	// FileSize and UnpackedSize are those of the image and of the ELF kernel in it,
	// in bytes; UnpackedSize is 0 if it could not be unpacked, and Unpacked says why.
	FileSize, UnpackedSize uint64
	Unpacked               error
	// Entry and PVHEntry are GPAs; 0 is none.
	Entry, PVHEntry uint64
	// HighestGPA is as in Loaded.
	HighestGPA uint64
	Segments   []SegmentInfo
	CmdlineMax int
	InitrdMax  uint64
	// Setup is what a bzImage's setup header says, nil for an ELF file.
	Setup *SetupInfo
	// Config is the kernel's configuration, if the kernel holds it or it lies
	// beside the image; ConfigSource says which.
	Config       []byte
	ConfigSource string
	// Facts are configuration options that matter to a guest, with their values.
	Facts []Fact
}

// SegmentInfo is a part of the kernel in guest memory.
type SegmentInfo struct {
	GPA, FileSize, MemSize uint64
}

// SetupInfo are fields of the setup header (Documentation/arch/x86/boot.rst).
type SetupInfo struct {
	Protocol     string // such as "2.15"
	PrefAddress  uint64
	InitSize     uint64
	Alignment    uint32
	Relocatable  bool
	XLoadFlags   []string // names of the flags that are set
	EFIHandover  uint32   // offset of the entry; 0 is none
	PayloadStart uint64   // in the file
	PayloadSize  uint64
}

// Inspect looks at the kernel image at path. It unpacks it, in memory only.
func Inspect(path string) (*Info, error) {
	img, err := Open(path, Options{NoCache: true, verbatim: true})
	if err != nil {
		return nil, err
	}
	defer func() { _ = img.Close() }()
	info := img.inspect()
	info.Path = path
	if img.elf != nil {
		found := search(img.elfData, img.elfSize)
		if info.Version == "" {
			info.Version = found.version
		}
		if found.config != nil {
			info.Config, info.ConfigSource = found.config, "embedded (CONFIG_IKCONFIG)"
		}
	}
	if info.Config == nil {
		info.Config, info.ConfigSource = configBeside(path, info.Version)
	}
	info.Facts = facts(info.Config)
	return info, nil
}

func (img *Image) inspect() *Info {
	info := &Info{
		Format: img.format, Compression: img.compression, Protocols: img.Protocols(),
		Version: img.Version(), FileSize: img.size, Unpacked: img.unpacked,
		CmdlineMax: img.CmdlineMax(), InitrdMax: elfInitrdMax,
	}
	if h := img.header; h != nil {
		info.InitrdMax = h.initrdMax
		info.Setup = h.info()
		info.Entry, info.HighestGPA = h.prefAddress+entry64, h.prefAddress+max(h.initSize, h.codeSize)
	}
	if e := img.elf; e != nil {
		info.UnpackedSize = img.elfSize
		info.Entry, info.PVHEntry = e.entry, e.pvhEntry
		info.HighestGPA = e.segments[len(e.segments)-1].end()
		for _, s := range e.segments {
			info.Segments = append(info.Segments, SegmentInfo{s.gpa, s.fileSize, s.memSize})
		}
	}
	return info
}

func (h *setupHeader) info() *SetupInfo {
	s := &SetupInfo{
		Protocol:    fmt.Sprintf("%d.%d", h.protocol>>8, h.protocol&0xff),
		PrefAddress: h.prefAddress, InitSize: h.initSize,
		Alignment: h.alignment, Relocatable: h.relocatable, EFIHandover: h.handover,
		PayloadStart: h.payloadOffset, PayloadSize: h.payloadSize,
	}
	for i, name := range [...]string{
		"kernel-64", "can-be-loaded-above-4g", "efi-handover-32", "efi-handover-64",
		"efi-kexec", "5level", "5level-enabled", "mem-encryption",
	} {
		if h.xloadFlags&(1<<i) != 0 {
			s.XLoadFlags = append(s.XLoadFlags, name)
		}
	}
	return s
}

// maxConfig bounds a configuration; a distribution's is 300 KiB.
const maxConfig = 4 << 20

// configBeside reads the configuration that distributions install as
// config-RELEASE next to the kernel.
func configBeside(path, version string) ([]byte, string) {
	release, _, _ := strings.Cut(strings.TrimPrefix(version, "Linux version "), " ")
	if release == "" || strings.ContainsAny(release, "/\x00") {
		return nil, ""
	}
	name := filepath.Join(filepath.Dir(path), "config-"+release)
	f, err := openRegular(name)
	if err != nil {
		return nil, ""
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil || st.Size() > maxConfig {
		return nil, ""
	}
	config := make([]byte, st.Size())
	if err := readAt(f, config, 0, uint64(st.Size())); err != nil {
		return nil, ""
	}
	return config, name
}
