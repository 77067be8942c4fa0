package image

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/gureum/gureum/guest/disk"
	"github.com/gureum/gureum/guest/image/ext4"
)

// rootLabel is the label of the file systems that are made. fstab finds the root by it,
// as its UUID is not known before its contents are.
const rootLabel = "gureum-root"

// makeRoot makes an image of one ext4 file system, which fill fills; the digest that fill
// returns names its content, and so the image and the file system.
func (s *Store) makeRoot(o *ImportOptions, m *Manifest, fill func(*ext4.Writer) (string, error)) (img Image, err error) {
	d, err := s.newDraft()
	if err != nil {
		return Image{}, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.makeDisk(o, m, fill); err != nil {
		return Image{}, err
	}
	o.Progress(fmt.Sprintf("writing image %s", o.Name))
	return d.commit(m, o.Name)
}

// makeDisk makes the draft's disk, and copies kernel and RAM disk out of it.
func (d *draft) makeDisk(o *ImportOptions, m *Manifest, fill func(*ext4.Writer) (string, error)) (err error) {
	m.Version, m.Created, m.Format, m.Size = manifestVersion, o.Time, string(o.Format), o.Size
	m.Disk = "disk." + m.Format
	path := d.path(m.Disk)
	if err := disk.Create(path, o.Size, o.Format, disk.CreateOptions{}); err != nil {
		return err
	}
	file, err := disk.Open(path, disk.Options{Format: o.Format})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w, err := ext4.New(file, ext4.Config{Size: o.Size, Label: rootLabel, Time: o.Time})
	if err != nil {
		return err
	}
	digest, err := fill(w)
	if err != nil {
		return err
	}
	uuid := identify(m, digest)
	w.SetUUID(uuid)
	if err := w.Finish(); err != nil {
		return err
	}
	if err := d.takeBoot(file, m); err != nil {
		return err
	}
	m.Cmdline = rootCmdline(m, uuid)
	return file.Flush()
}

// rootCmdline says where the root is. Only a RAM disk with udev knows UUIDs of file
// systems; without one it is the first disk. A container has no init of its own.
func rootCmdline(m *Manifest, uuid [16]byte) string {
	root := "root=/dev/vda"
	if m.Initrd != "" {
		root = "root=UUID=" + formatUUID(uuid)
	}
	return root + " rw"
}

// identify gives the image its id and the file system its UUID: both by the content, the
// size and the format, so that the same makes the same.
func identify(m *Manifest, digest string) (uuid [16]byte) {
	h := sha256.New()
	for _, part := range []string{digest, m.Format, strconv.FormatInt(m.Size, 10)} {
		_, _ = io.WriteString(h, part+"\n") // a hash takes all
	}
	sum := h.Sum(nil)
	m.ID = hex.EncodeToString(sum[:6])
	copy(uuid[:], sum[16:])
	uuid[6] = uuid[6]&0x0f | 0x80 // version 8: of our own making (RFC 9562)
	uuid[8] = uuid[8]&0x3f | 0x80
	return uuid
}

func formatUUID(u [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}
