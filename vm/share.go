package vm

import (
	"errors"
	"fmt"
	"os"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/fs"
)

// Share is a folder of the host that the guest can mount:
//
//	mount -t virtiofs TAG /mnt
//
// With the agent as init it is mounted at /mnt/TAG from the start.
type Share struct {
	// Dir is the folder.
	Dir string
	// Tag is the name by which the guest mounts it.
	Tag string
	// ReadOnly keeps the guest from changing anything in it.
	ReadOnly bool
	// Root, if it is not nil, is the folder, opened by someone else; New takes it over.
	// Dir is its name then.
	Root *os.File
	// Owner is who owns files in Root and who shall for the guest.
	Owner fs.Owner
}

// maxShares bounds the shares of a machine.
const maxShares = 8

func checkShares(c *Config) error {
	if len(c.Shares) > maxShares {
		return inputErrorf("%d shares: a machine has at most %d", len(c.Shares), maxShares)
	}
	seen := map[string]bool{}
	for i := range c.Shares {
		s := &c.Shares[i]
		if err := fs.CheckTag(s.Tag); err != nil {
			return inputErrorf("share %s: %w", s.Dir, err)
		}
		if seen[s.Tag] {
			return inputErrorf("share %s: tag %q is there twice: give each its own", s.Dir, s.Tag)
		}
		seen[s.Tag] = true
		st, err := os.Stat(s.Dir)
		if err != nil {
			return inputErrorf("share: %w", err)
		}
		if !st.IsDir() {
			return inputErrorf("share: %s: is a %s, not a folder", s.Dir, fileKind(st.Mode()))
		}
	}
	return nil
}

func fileKind(mode os.FileMode) string {
	if mode.IsRegular() {
		return "file"
	}
	return kindOf(mode)
}

// newShares opens the folders.
func (m *Machine) newShares() ([]virtio.Device, error) {
	var devices []virtio.Device
	for _, s := range m.config.Shares {
		c := fs.Config{Dir: s.Dir, Tag: s.Tag, ReadOnly: s.ReadOnly, Owner: s.Owner}
		if s.Root != nil {
			c.Dir = fmt.Sprintf("/proc/self/fd/%d", s.Root.Fd())
			defer s.Root.Close()
		}
		d, err := fs.New(c)
		var path *os.PathError
		if errors.As(err, &path) {
			return devices, inputErrorf("share: %w", err)
		}
		if err != nil {
			return devices, &HostError{err}
		}
		devices = append(devices, d)
	}
	return devices, nil
}
