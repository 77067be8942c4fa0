package suite

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// diskDevice is a RAM disk of the host, which takes requests past the page cache; no
// machine's disk is in the way. diskSize is its size in KiB.
const (
	diskDevice = "/dev/ram0"
	diskSize   = 256 << 10
)

// prepareDisk makes the RAM disk.
func prepareDisk() error {
	if _, err := os.Stat(diskDevice); err == nil {
		return nil
	}
	return command("modprobe", "brd", "rd_nr=1", fmt.Sprintf("rd_size=%d", diskSize))
}

// prepareTap makes the tap, with the host's address on it. remove takes it away.
func prepareTap() (remove func() error, err error) {
	_ = command("modprobe", "-a", "tun", "vhost_net") // they may be built in
	if err := command("ip", "tuntap", "add", "dev", tapName, "mode", "tap", "vnet_hdr"); err != nil {
		return nil, err
	}
	remove = func() error { return command("ip", "link", "del", tapName) }
	err = errors.Join(command("ip", "addr", "add", hostAddr+"/24", "dev", tapName), command("ip", "link", "set", tapName, "up"))
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
