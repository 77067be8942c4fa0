package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/disk"
	"github.com/gureum/gureum/guest/image/ext4"
	"github.com/gureum/gureum/guest/image/partition"
)

// importDisk copies a disk as it is, and takes its own kernel out of it: from a file
// system without a partition table, or from the ext4 partitions of a GPT. A disk that has
// neither is imported without a kernel.
func (s *Store) importDisk(ctx context.Context, path string, o *ImportOptions) (img Image, err error) {
	format, err := disk.Detect(path)
	if err != nil {
		return Image{}, err
	}
	if format != disk.Raw && format != disk.Qcow2 {
		return Image{}, fmt.Errorf("a disk of format %s: convert it to raw or qcow2", format)
	}
	d, err := s.newDraft()
	if err != nil {
		return Image{}, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	m := &Manifest{
		Version: manifestVersion, Created: o.Time, Source: "disk " + filepath.Base(path),
		Format: string(format), Disk: "disk." + string(format),
	}
	o.Progress("copying " + path)
	if err := d.copyDisk(ctx, path, m); err != nil {
		return Image{}, err
	}
	if err := d.inspectDisk(m, o); err != nil {
		return Image{}, err
	}
	return d.commit(m, o.Name)
}

// copyDisk copies the disk's file, holes as holes, while holding its lock. No backing
// file is allowed: the image must stand alone.
func (d *draft) copyDisk(ctx context.Context, path string, m *Manifest) (err error) {
	in, err := disk.Open(path, disk.Options{Format: m.format(), ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	m.Size = in.Size()
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	out, err := os.OpenFile(d.path(m.Disk), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	h := sha256.New()
	err = copySparse(out, &contextReader{ctx, &hashReader{f, h}})
	m.ID = hex.EncodeToString(h.Sum(nil)[:6])
	return errors.Join(err, out.Close())
}

// copySparse leaves holes where there are 64 KiB of zeroes.
func copySparse(out *os.File, in io.Reader) error {
	const piece = 64 << 10
	buf, zero := make([]byte, piece), string(make([]byte, piece))
	for at := int64(0); ; {
		n, err := io.ReadFull(in, buf)
		if n > 0 && string(buf[:n]) != zero[:n] {
			if _, err := out.WriteAt(buf[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return unix.Ftruncate(int(out.Fd()), at)
		}
		if err != nil {
			return err
		}
	}
}

// inspectDisk looks for a kernel.
func (d *draft) inspectDisk(m *Manifest, o *ImportOptions) (err error) {
	in, err := disk.Open(d.path(m.Disk), disk.Options{Format: m.format(), ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	if root, err := ext4.OpenReader(in); err == nil {
		o.Progress("looking for a kernel in the file system")
		if err := d.takeBoot(in, m); err != nil {
			return err
		}
		m.Cmdline = rootCmdline(m, root.UUID())
		return nil
	}
	parts, err := partition.Read(in, in.Size())
	if errors.Is(err, partition.ErrNone) {
		o.Progress("it has neither an ext4 file system nor a GPT: no kernel is taken from it, give --kernel to run it")
		return nil
	}
	if err != nil {
		return err
	}
	o.Progress(fmt.Sprintf("looking for a kernel in %d partitions", len(parts)))
	return d.inspectPartitions(in, parts, m)
}

// inspectPartitions takes the kernel from the partition that has one in /boot, or from one
// that is mounted on /boot; the root is the partition with /etc and /usr.
func (d *draft) inspectPartitions(in io.ReaderAt, parts []partition.Partition, m *Manifest) error {
	for i := range parts {
		p := &parts[i]
		fs, err := ext4.OpenReader(io.NewSectionReader(in, p.Offset, p.Size))
		if err != nil {
			continue // another file system
		}
		if m.Cmdline == "" && isRoot(fs) {
			m.Cmdline = "root=PARTUUID=" + p.ID() + " rw"
			m.OS = osName(fs)
		}
		for _, dir := range []string{"boot", ""} {
			if m.Kernel != "" {
				break
			}
			if err := d.takeBootFrom(fs, dir, m); err != nil {
				return fmt.Errorf("partition %d: %w", p.Number, err)
			}
		}
	}
	return nil
}

func isRoot(root *ext4.Reader) bool {
	for _, dir := range []string{"etc", "usr"} {
		if i, err := root.Lookup(dir); err != nil || i.Type != ext4.TypeDir {
			return false
		}
	}
	return true
}
