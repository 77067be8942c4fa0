package disk

import (
	"fmt"

	"github.com/gureum/gureum/guest/disk/internal/host"
	"github.com/gureum/gureum/guest/disk/qcow2"
	"golang.org/x/sys/unix"
)

// ImageInfo describes an image.
type ImageInfo struct {
	Format      Format
	VirtualSize int64 // of the guest's disk, in bytes
	DiskSize    int64 // that the file takes on the host, in bytes

	// The rest is of qcow2 images alone.
	Version       int
	ClusterSize   int64
	RefcountBits  int
	Compression   string // of compressed clusters: zlib or zstd
	Backing       string // the backing file's name as the image has it
	BackingFormat Format
	Snapshots     int
	Dirty         bool // not closed by a writer that keeps reference counts lazily
	Corrupt       bool // marked as such by a writer
}

// Info describes the image at path, also one in use, of the format named; empty as with
// Options.Format. It opens no backing file.
func Info(path string, format Format) (ImageInfo, error) {
	file, err := host.Open(path, host.Options{ReadOnly: true, Unlocked: true})
	if err != nil {
		return ImageInfo{}, err
	}
	defer func() { _ = file.Close() }()
	return describe(file, format)
}

func describe(file *host.File, format Format) (ImageInfo, error) {
	format, err := decide(file, format)
	if err != nil {
		return ImageInfo{}, err
	}
	info := ImageInfo{Format: format}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.OS().Fd()), &st); err != nil {
		return info, fmt.Errorf("stat %s: %w", file.Path(), err)
	}
	info.DiskSize = st.Blocks * 512
	if info.VirtualSize, err = file.Size(); err != nil || format == Raw {
		return info, err
	}
	s, err := qcow2.Describe(file)
	if err != nil {
		return info, fmt.Errorf("open %s: %w", file.Path(), err)
	}
	info.VirtualSize, info.Version, info.ClusterSize, info.RefcountBits = s.Size, s.Version, s.ClusterSize, s.RefcountBits
	info.Backing, info.BackingFormat, info.Snapshots = s.BackingName, Format(s.BackingFormat), s.Snapshots
	info.Dirty, info.Corrupt, info.Compression = s.Dirty, s.Corrupt, s.Compression
	return info, nil
}

// CheckReport is what Check found in a qcow2 image.
type CheckReport = qcow2.Report

// Check goes through the tables of the qcow2 image at path, which nobody may be writing to,
// and tells what is wrong with them. It changes nothing. A raw image has no tables: all is
// well with it.
func Check(path string, format Format) (CheckReport, error) {
	file, err := host.Open(path, host.Options{ReadOnly: true})
	if err != nil {
		return CheckReport{}, err
	}
	defer func() { _ = file.Close() }()
	if format, err = decide(file, format); err != nil || format == Raw {
		return CheckReport{}, err
	}
	report, err := qcow2.Check(file)
	if err != nil {
		return report, fmt.Errorf("check %s: %w", path, err)
	}
	return report, nil
}
