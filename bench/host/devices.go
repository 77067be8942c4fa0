package host

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// DiskDevice is a RAM disk of the host, which takes requests past the page cache; no
// machine's disk is in the way. diskSize is its size in KiB.
const (
	DiskDevice = "/dev/ram0"
	diskSize   = 256 << 10
)

// PrepareDisk makes the RAM disk where there is none, and fills it: what was never written
// is read from no memory at all. remove takes away what was made.
func PrepareDisk() (remove func() error, err error) {
	remove = func() error { return nil }
	if _, err := os.Stat(DiskDevice); err != nil {
		if err := command("modprobe", "brd", "rd_nr=1", fmt.Sprintf("rd_size=%d", diskSize)); err != nil {
			return nil, err
		}
		remove = removeDisk
	}
	if err := fill(DiskDevice); err != nil {
		return nil, errors.Join(err, remove())
	}
	return remove, nil
}

// A VMM that was killed with requests under way may hold on to the disk for a moment after its
// end: the kernel takes its io_uring down by and by.
const (
	removeTries = 50
	removeWait  = 100 * time.Millisecond
)

func removeDisk() error {
	var err error
	for range removeTries {
		if err = command("modprobe", "-r", "brd"); err == nil {
			return nil
		}
		time.Sleep(removeWait)
	}
	return err
}

// fill writes to all of a device.
func fill(device string) error {
	f, err := os.OpenFile(device, os.O_WRONLY|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	const piece = 1 << 20
	memory, err := unix.Mmap(-1, 0, piece, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(memory) }()
	for i := range memory {
		memory[i] = byte(i)
	}
	for {
		_, err := f.Write(memory)
		if errors.Is(err, unix.ENOSPC) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// PrepareTap makes a tap for a number of pairs of queues, with an address and its prefix
// length of the host's on it. remove takes it away.
func PrepareTap(name, address string, queues int) (remove func() error, err error) {
	_ = command("modprobe", "-a", "tun", "vhost_net") // they may be built in
	add := []string{"ip", "tuntap", "add", "dev", name, "mode", "tap", "vnet_hdr"}
	if queues > 1 {
		add = append(add, "multi_queue")
	}
	if err := command(add...); err != nil {
		return nil, err
	}
	remove = func() error { return command("ip", "link", "del", name) }
	err = errors.Join(command("ip", "addr", "add", address, "dev", name), command("ip", "link", "set", name, "up"))
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	return remove, nil
}

// PrepareBridge makes a bridge that connects some taps, which it makes, too. The host has no
// address on it.
func PrepareBridge(name string, taps ...string) (remove func() error, err error) {
	_ = command("modprobe", "-a", "bridge", "tun") // they may be built in
	made := []string{}
	remove = func() error {
		var errs []error
		for _, device := range made {
			errs = append(errs, command("ip", "link", "del", device))
		}
		return errors.Join(errs...)
	}
	add := func(device string, steps ...[]string) error {
		for i, step := range steps {
			if err := command(append([]string{"ip"}, step...)...); err != nil {
				return errors.Join(err, remove())
			}
			if i == 0 {
				made = append(made, device)
			}
		}
		return nil
	}
	if err := add(name, []string{"link", "add", name, "type", "bridge", "forward_delay", "0"}, []string{"link", "set", name, "up"}); err != nil {
		return nil, err
	}
	for _, tap := range taps {
		err := add(tap, []string{"tuntap", "add", "dev", tap, "mode", "tap", "vnet_hdr"},
			[]string{"link", "set", tap, "master", name, "up"})
		if err != nil {
			return nil, err
		}
	}
	return remove, nil
}

func command(args ...string) error {
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
