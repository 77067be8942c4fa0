package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/disk"
	"github.com/gureum/gureum/guest/image"
	"github.com/gureum/gureum/guest/image/seed"
	"github.com/gureum/gureum/vm"
)

// imageRef is what --disk says of an image, besides what vm.Disk has.
type imageRef struct {
	persist string
	size    uint64
}

// cutImageOptions takes those options of --disk out that are about images of the store.
func cutImageOptions(s string) (rest string, ref imageRef, err error) {
	words := splitCommas(s)
	for i, word := range words {
		key, value, _ := strings.Cut(word, "=")
		switch {
		case i > 0 && key == "persist" && ref.persist == "" && value != "":
			ref.persist = value
		case i > 0 && key == "size" && ref.size == 0:
			if ref.size, err = ParseSize(value); err != nil || ref.size == 0 {
				return "", ref, fmt.Errorf("disk option size: %q: write it as 20G", value)
			}
		default:
			if i > 0 {
				rest += ","
			}
			rest += strings.ReplaceAll(word, ",", ",,")
		}
	}
	return rest, ref, nil
}

// Prepare turns disks that name an image of the store into overlays on it, takes
// kernel, RAM disk and command line from the first, and adds the seed for cloud-init.
// The overlays are kept in the folder layers, as disk0.qcow2 and so on; with "" they are
// scratch, and Close removes them. Call Close in any case.
func (p *Plan) Prepare(layers string) error {
	for i := range p.Config.Disks {
		d := &p.Config.Disks[i]
		ref, has := p.refs[i]
		if !isImageName("", d.Path) {
			if has {
				return fmt.Errorf("disk %s: persist and size are for images of the store", d.Path)
			}
			continue
		}
		if layers != "" && ref.persist == "" && !d.ReadOnly {
			ref.persist = filepath.Join(layers, fmt.Sprintf("disk%d.qcow2", i))
		}
		if err := p.prepareImage(i, d, ref); err != nil {
			return err
		}
	}
	return p.addSeed()
}

// isImageName tells an image's name from a path: it has no slash, and no file of that
// name is in dir.
func isImageName(dir, path string) bool {
	if image.CheckName(path) != nil {
		return false
	}
	_, err := os.Stat(filepath.Join(dir, path))
	return errors.Is(err, fs.ErrNotExist)
}

func (p *Plan) prepareImage(i int, d *vm.Disk, ref imageRef) error {
	store, err := image.Open("")
	if err != nil {
		return err
	}
	name := d.Path
	img, err := store.Resolve(name)
	if errors.Is(err, image.ErrNotFound) {
		return fmt.Errorf("disk %s: there is neither a file nor an image of that name: build one with 'gureum image build', or see 'gureum image ls'", name)
	}
	if err != nil {
		return err
	}
	if d.Format != "" {
		return fmt.Errorf("disk %s: leave out the format: the image has its own", name)
	}
	switch {
	case d.ReadOnly && (ref.persist != "" || ref.size != 0):
		return fmt.Errorf("disk %s: ro goes with neither persist nor size", name)
	case d.ReadOnly:
		d.Path, d.Format = img.Disk, img.Format
	case ref.persist != "":
		if img, err = store.OpenOverlay(img, ref.persist, int64(min(ref.size, 1<<62))); err != nil {
			return err
		}
		d.Path, d.Format = ref.persist, disk.Qcow2
	default:
		scratch, err := img.NewScratch(int64(min(ref.size, 1<<62)))
		if err != nil {
			return err
		}
		p.cleanup = append(p.cleanup, scratch.Close)
		d.Path, d.Format = scratch.Path, disk.Qcow2
	}
	d.BackingDirs = append(d.BackingDirs, filepath.Dir(img.Disk))
	if p.Image == nil && p.Config.Kernel == "" && p.Config.Initrd == "" {
		p.boot(img, i)
	}
	return nil
}

// boot takes the kernel, RAM disk and command line of an image that is the guest's disk i.
func (p *Plan) boot(img image.Resolved, i int) {
	p.Image = &img
	p.Config.Kernel, p.Config.Initrd = img.Kernel, img.Initrd
	// An image without a RAM disk knows its root by the order of disks alone.
	cmdline := strings.Replace(img.Cmdline, "root=/dev/vda ", fmt.Sprintf("root=/dev/vd%c ", 'a'+i), 1)
	p.Config.Append = strings.TrimSpace(cmdline + " " + p.Config.Append)
}

// Close removes what Prepare made for this one run.
func (p *Plan) Close() error {
	var errs []error
	for _, f := range p.cleanup {
		errs = append(errs, f())
	}
	p.cleanup = nil
	return errors.Join(errs...)
}

// addSeed adds the disk for cloud-init, if there is something to tell it. It is a file in
// memory without a name.
func (p *Plan) addSeed() error {
	c, wanted, err := p.seedConfig()
	if err != nil || !wanted {
		return err
	}
	if len(p.Config.Disks) == 0 {
		return errors.New("settings for cloud-init go to a disk: give --disk IMAGE")
	}
	contents, err := c.Image()
	if err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("gureum-seed", unix.MFD_CLOEXEC)
	if err != nil {
		return &fs.PathError{Op: "make", Path: "cloud-init seed", Err: err}
	}
	f := os.NewFile(uintptr(fd), "cloud-init seed")
	p.cleanup = append(p.cleanup, f.Close)
	if _, err := f.Write(contents); err != nil {
		return &fs.PathError{Op: "make", Path: "cloud-init seed", Err: err}
	}
	p.Config.Disks = append(p.Config.Disks, vm.Disk{
		Path: fmt.Sprintf("/proc/self/fd/%d", fd), Format: disk.Raw, ReadOnly: true,
		ID: "cidata", Queues: 1, Cache: vm.CacheWriteback,
	})
	return nil
}

// seedConfig gathers what cloud-init is to be told. A name alone is worth telling only to
// an image of the store.
func (p *Plan) seedConfig() (c seed.Config, wanted bool, err error) {
	c = seed.Config{User: p.spec.User}
	wanted = c.User != "" || p.spec.CloudInit != "" || p.spec.PasswordFile != "" || len(p.spec.SSHKey) > 0 || p.spec.IP != "" ||
		p.Config.Name != "" && p.Image != nil
	if !wanted {
		return c, false, nil
	}
	c.Hostname = p.Config.Name
	if p.spec.CloudInit != "" {
		if c.UserData, err = readSmall(p.spec.CloudInit); err != nil {
			return c, false, fmt.Errorf("cloud-init: %w", err)
		}
	}
	if p.spec.PasswordFile != "" {
		password, err := readSmall(p.spec.PasswordFile)
		if err != nil {
			return c, false, fmt.Errorf("password-file: %w", err)
		}
		c.Password = strings.TrimRight(string(password), "\r\n")
	}
	for _, name := range p.spec.SSHKey {
		keys, err := readSmall(name)
		if err != nil {
			return c, false, fmt.Errorf("ssh-key: %w", err)
		}
		for line := range strings.Lines(string(keys)) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				c.Keys = append(c.Keys, line)
			}
		}
	}
	if p.spec.IP != "" {
		c.Network, err = p.seedNetwork()
	}
	return c, true, err
}

// readSmall reads a file that goes into the seed.
func readSmall(name string) ([]byte, error) {
	p, err := os.ReadFile(name)
	if err == nil && len(p) > seed.MaxUserData {
		return nil, fmt.Errorf("%s: more than %d bytes", name, seed.MaxUserData)
	}
	return p, err
}

// seedNetwork reads --ip.
func (p *Plan) seedNetwork() (*seed.Network, error) {
	if len(p.Config.NICs) == 0 {
		return nil, errors.New("ip: the machine has no network interface: give --net")
	}
	words := strings.Split(p.spec.IP, ",")
	address, err := netip.ParsePrefix(words[0])
	if err != nil {
		return nil, fmt.Errorf("ip %q: write it as 192.0.2.10/24", words[0])
	}
	n := &seed.Network{Address: address}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		ip, err := netip.ParseAddr(value)
		switch {
		case err != nil || key != "gw" && key != "dns":
			return nil, fmt.Errorf("ip option %q: give gw=ADDRESS or dns=ADDRESS", word)
		case key == "gw":
			n.Gateway = ip
		default:
			n.DNS = append(n.DNS, ip)
		}
	}
	// cloud-init finds the interface by its MAC address.
	mac := &p.Config.NICs[0].MAC
	if *mac == [6]byte{} {
		*mac = vm.OwnMAC(p.Config.Name, 0)
	}
	n.MAC = fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5])
	return n, nil
}
