package host

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// DiskDevice is a RAM disk of the host, which takes requests past the page cache; no
// machine's disk is in the way. diskSize is its size in KiB.
const (
	DiskDevice = "/dev/ram0"
	diskSize   = 256 << 10
)

// PrepareDisk makes the RAM disk where there is none.
func PrepareDisk() error {
	if _, err := os.Stat(DiskDevice); err == nil {
		return nil
	}
	return command("modprobe", "brd", "rd_nr=1", fmt.Sprintf("rd_size=%d", diskSize))
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

func command(args ...string) error {
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
