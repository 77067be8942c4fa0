package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/disk"
	"github.com/gureum/gureum/guest/image"
	"github.com/gureum/gureum/guest/image/seed"
	"github.com/gureum/gureum/vm"
)

// imageOptions are the flags of run that are about images of the store, and what comes
// of them.
type imageOptions struct {
	cloudInit, user, passwordFile, address string
	keyFiles                               []string

	refs    map[int]imageRef // of --disk, by their order
	booted  *image.Resolved  // the image that the machine boots; nil for none
	cleanup []func() error
}

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
			if ref.size, err = parseSize(value); err != nil || ref.size == 0 {
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

func (o *runOptions) addImageFlags(f *pflag.FlagSet) {
	f.StringVar(&o.image.cloudInit, "cloud-init", "", "give the guest's cloud-init this `FILE` as its user data")
	f.StringArrayVar(&o.image.keyFiles, "ssh-key", nil, "let the keys in this `FILE` (id_ed25519.pub) into the guest by ssh, by cloud-init; repeatable")
	f.StringVar(&o.image.user, "user", "", "make this `USER` in the guest, by cloud-init (default: the image's own)")
	f.StringVar(&o.image.passwordFile, "password-file", "", "give that user the password in this `FILE`, for the console")
	f.StringVar(&o.image.address, "ip", "", "`ADDRESS`/BITS[,gw=ADDRESS][,dns=ADDRESS] of the first interface, by cloud-init (default: DHCP)")
}

// prepareImages turns disks that name an image of the store into overlays on it, takes
// kernel, RAM disk and command line from the first, and adds the seed for cloud-init.
func (o *runOptions) prepareImages() error {
	for i := range o.config.Disks {
		d := &o.config.Disks[i]
		ref, has := o.image.refs[i]
		if !isImageName(d.Path) {
			if has {
				return fmt.Errorf("disk %s: persist and size are for images of the store", d.Path)
			}
			continue
		}
		if err := o.prepareImage(i, d, ref); err != nil {
			return err
		}
	}
	return o.addSeed()
}

// isImageName tells an image's name from a path: it has no slash, and no file of that
// name is here.
func isImageName(path string) bool {
	if image.CheckName(path) != nil {
		return false
	}
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

func (o *runOptions) prepareImage(i int, d *vm.Disk, ref imageRef) error {
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
		return imageError(err)
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
			return imageError(err)
		}
		d.Path, d.Format = ref.persist, disk.Qcow2
	default:
		scratch, err := img.NewScratch(int64(min(ref.size, 1<<62)))
		if err != nil {
			return imageError(err)
		}
		o.image.cleanup = append(o.image.cleanup, scratch.Close)
		d.Path, d.Format = scratch.Path, disk.Qcow2
	}
	d.BackingDirs = append(d.BackingDirs, filepath.Dir(img.Disk))
	if o.image.booted == nil && o.config.Kernel == "" && o.config.Initrd == "" {
		o.boot(img, i)
	}
	return nil
}

// boot takes the kernel, RAM disk and command line of an image that is the guest's disk i.
func (o *runOptions) boot(img image.Resolved, i int) {
	o.image.booted = &img
	o.config.Kernel, o.config.Initrd = img.Kernel, img.Initrd
	// An image without a RAM disk knows its root by the order of disks alone.
	cmdline := strings.Replace(img.Cmdline, "root=/dev/vda ", fmt.Sprintf("root=/dev/vd%c ", 'a'+i), 1)
	o.config.Append = strings.TrimSpace(cmdline + " " + o.config.Append)
}

// closeImages removes what prepareImages made.
func (o *runOptions) closeImages() error {
	var errs []error
	for _, f := range o.image.cleanup {
		errs = append(errs, f())
	}
	o.image.cleanup = nil
	return errors.Join(errs...)
}

// addSeed adds the disk for cloud-init, if there is something to tell it. It is a file in
// memory without a name.
func (o *runOptions) addSeed() error {
	c, wanted, err := o.seedConfig()
	if err != nil || !wanted {
		return err
	}
	if len(o.config.Disks) == 0 {
		return errors.New("settings for cloud-init go to a disk: give --disk IMAGE")
	}
	p, err := c.Image()
	if err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("gureum-seed", unix.MFD_CLOEXEC)
	if err != nil {
		return machineErrorf("cloud-init seed: %w", err)
	}
	f := os.NewFile(uintptr(fd), "cloud-init seed")
	o.image.cleanup = append(o.image.cleanup, f.Close)
	if _, err := f.Write(p); err != nil {
		return machineErrorf("cloud-init seed: %w", err)
	}
	o.config.Disks = append(o.config.Disks, vm.Disk{
		Path: fmt.Sprintf("/proc/self/fd/%d", fd), Format: disk.Raw, ReadOnly: true,
		ID: "cidata", Queues: 1, Cache: vm.CacheWriteback,
	})
	return nil
}

// seedConfig gathers what cloud-init is to be told. A name alone is worth telling only to
// an image of the store.
func (o *runOptions) seedConfig() (c seed.Config, wanted bool, err error) {
	c = seed.Config{User: o.image.user}
	wanted = c.User != "" || o.image.cloudInit != "" || o.image.passwordFile != "" || len(o.image.keyFiles) > 0 || o.image.address != "" ||
		o.config.Name != "" && o.image.booted != nil
	if !wanted {
		return c, false, nil
	}
	c.Hostname = o.config.Name
	if o.image.cloudInit != "" {
		if c.UserData, err = readSmall(o.image.cloudInit); err != nil {
			return c, false, fmt.Errorf("cloud-init: %w", err)
		}
	}
	if o.image.passwordFile != "" {
		p, err := readSmall(o.image.passwordFile)
		if err != nil {
			return c, false, fmt.Errorf("password-file: %w", err)
		}
		c.Password = strings.TrimRight(string(p), "\r\n")
	}
	for _, name := range o.image.keyFiles {
		p, err := readSmall(name)
		if err != nil {
			return c, false, fmt.Errorf("ssh-key: %w", err)
		}
		for line := range strings.Lines(string(p)) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				c.Keys = append(c.Keys, line)
			}
		}
	}
	if o.image.address != "" {
		c.Network, err = o.seedNetwork()
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
func (o *runOptions) seedNetwork() (*seed.Network, error) {
	if len(o.config.NICs) == 0 {
		return nil, errors.New("ip: the machine has no network interface: give --net")
	}
	words := strings.Split(o.image.address, ",")
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
	mac := &o.config.NICs[0].MAC
	if *mac == [6]byte{} {
		*mac = vm.OwnMAC(o.config.Name, 0)
	}
	n.MAC = fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5])
	return n, nil
}
