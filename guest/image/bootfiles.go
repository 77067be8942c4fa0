package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/gureum/gureum/guest/image/ext4"
)

// Names of the files beside an image's disk.
const (
	kernelFile = "vmlinuz"
	initrdFile = "initrd"
)

// maxBootFile bounds a kernel or RAM disk, in bytes.
const maxBootFile = 1 << 30

// takeBoot copies the newest kernel of a root file system, and its RAM disk, out of it to
// the draft. An image without a kernel boots ours.
func (d *draft) takeBoot(r io.ReaderAt, m *Manifest) error {
	root, err := ext4.OpenReader(r)
	if err != nil {
		return err
	}
	m.OS = osName(root)
	return d.takeBootFrom(root, "boot", m)
}

func (d *draft) takeBootFrom(root *ext4.Reader, dir string, m *Manifest) error {
	kernel, initrd, release, err := findBoot(root, dir)
	if err != nil || kernel == "" {
		return err
	}
	if err := copyOut(root, kernel, d.path(kernelFile)); err != nil {
		return err
	}
	m.Kernel, m.Release = kernelFile, release
	if initrd == "" {
		return nil
	}
	m.Initrd = initrdFile
	return copyOut(root, initrd, d.path(initrdFile))
}

// findBoot looks for the newest kernel in a folder and for the RAM disk of its version, by
// the names that distributions give them. "" stands for none.
func findBoot(root *ext4.Reader, dir string) (kernel, initrd, release string, err error) {
	boot, err := root.Lookup(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", "", nil
	}
	if err != nil {
		return "", "", "", err
	}
	if boot.Type != ext4.TypeDir {
		return "", "", "", nil
	}
	names, err := root.Names(boot)
	if err != nil {
		return "", "", "", err
	}
	for _, name := range names {
		version, ok := strings.CutPrefix(name, "vmlinuz-")
		if ok && !strings.Contains(version, "rescue") && (release == "" || compareVersions(version, release) > 0) {
			kernel, release = path.Join(dir, name), version
		}
	}
	if kernel == "" {
		return "", "", "", nil
	}
	for _, name := range []string{"initrd.img-" + release, "initramfs-" + release + ".img", "initrd-" + release} {
		if slices.Contains(names, name) {
			return kernel, path.Join(dir, name), release, nil
		}
	}
	return kernel, "", release, nil
}

// compareVersions orders releases of kernels: numbers in them by value, all else by byte.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		na, nb := digits(a), digits(b)
		if na > 0 && nb > 0 {
			x, _ := strconv.ParseUint(a[:na], 10, 64)
			y, _ := strconv.ParseUint(b[:nb], 10, 64)
			if x != y {
				if x < y {
					return -1
				}
				return 1
			}
			a, b = a[na:], b[nb:]
			continue
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// copyOut copies a file of a file system to a new file of the host.
func copyOut(root *ext4.Reader, name, to string) error {
	i, err := root.Lookup(name)
	if err != nil {
		return err
	}
	if i.Type != ext4.TypeRegular || i.Size > maxBootFile {
		return fmt.Errorf("%s: no file of at most %d bytes", name, maxBootFile)
	}
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, io.NewSectionReader(root.File(i), 0, i.Size))
	return errors.Join(err, f.Close())
}

// osName is how a system calls itself (os-release(5)), "" if it does not.
func osName(root *ext4.Reader) string {
	i, err := root.Lookup("etc/os-release")
	if err != nil || i.Type != ext4.TypeRegular {
		return ""
	}
	p := make([]byte, min(i.Size, 4096))
	if _, err := root.File(i).ReadAt(p, 0); err != nil {
		return ""
	}
	for line := range strings.Lines(string(p)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return printable(strings.Trim(value, `"'`))
		}
	}
	return ""
}

// printable drops what would play with a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return -1
	}, s[:min(len(s), 100)])
}
