package disk

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"

	"github.com/gureum/gureum/guest/disk/internal/host"
)

// Open opens the image at path.
func Open(path string, o Options) (Disk, error) {
	return (&chain{options: o}).open(path, o.Format, o.ReadOnly)
}

// decide settles the format of an open file: as named, else by the file's name, and then
// only if the content does not contradict.
func decide(file *host.File, named Format) (Format, error) {
	looks, err := sniff(file)
	if err != nil {
		return "", err
	}
	switch named {
	case Raw:
		return Raw, nil
	case Qcow2:
	case "":
		if filepath.Ext(file.Path()) != ".qcow2" {
			if looks != "" {
				return "", fmt.Errorf("open %s: %w: it looks like %s but nothing says that it is: name the format (raw, if a guest wrote that)", file.Path(), ErrFormat, looks)
			}
			return Raw, nil
		}
	default:
		return "", fmt.Errorf("open %s: %w: %q is unknown: use raw or qcow2", file.Path(), ErrFormat, named)
	}
	if looks != string(Qcow2) {
		return "", fmt.Errorf("open %s: %w: it has no qcow2 header: name the format raw if it is a plain disk", file.Path(), ErrFormat)
	}
	return Qcow2, nil
}

// signatures are the headers of formats that a raw disk's first bytes must not look like
// by accident. MBR, GPT and file systems all begin otherwise.
var signatures = [...]struct {
	magic string
	off   int
	name  string
}{
	{"QFI\xfb", 0, string(Qcow2)},
	{"QED\x00", 0, "qed"},
	{"KDMV", 0, "vmdk"},
	{"COWD", 0, "vmdk"},
	{"# Disk DescriptorFile", 0, "vmdk"},
	{"vhdxfile", 0, "vhdx"},
	{"conectix", 0, "vhd"},
	{"\x7f\x10\xda\xbe", 0x40, "vdi"},
}

// sniff names the format that a file's first bytes look like, "" for none.
func sniff(file *host.File) (string, error) {
	var head [512]byte
	n, err := file.ReadAt(head[:], 0)
	if err != nil && err != io.EOF { //nolint:errorlint // io.ReaderAt gives it bare
		return "", err
	}
	for _, s := range &signatures {
		if s.off+len(s.magic) <= n && bytes.Equal(head[s.off:s.off+len(s.magic)], []byte(s.magic)) {
			return s.name, nil
		}
	}
	return "", nil
}

// Detect tells what format the content of path looks like: raw if like none that is
// known. It takes no lock. Content is no proof, as guests write it: use this to warn, or
// for a file that no guest has had yet, never to decide how to open a guest's disk.
func Detect(path string) (Format, error) {
	file, err := host.Open(path, host.Options{ReadOnly: true, Unlocked: true})
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	looks, err := sniff(file)
	if err != nil || looks != "" {
		return Format(looks), err
	}
	return Raw, nil
}
