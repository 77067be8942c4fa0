package image

import (
	"errors"
	"io/fs"

	"github.com/gureum/gureum/guest/disk"
)

// resolveTries is how often a name is looked up that changes hands meanwhile.
const resolveTries = 10

// Resolved is what a machine needs to boot an image.
type Resolved struct {
	Name    string
	ID      string
	Disk    string      // path; the machine must not write to it: put an overlay on it
	Format  disk.Format // of Disk
	Size    int64       // of the disk, in bytes
	Kernel  string      // path; "" for the embedded kernel
	Initrd  string      // path; "" for none
	Cmdline string      // to add to the kernel's command line
	Agent   bool        // the guest runs the agent
}

// Resolve finds an image of the default store by its name, or by the beginning of its id.
// It reads one small file. The error of a name that is not there is ErrNotFound.
func Resolve(name string) (Resolved, error) {
	s, err := Open("")
	if err != nil {
		return Resolved{}, err
	}
	return s.Resolve(name)
}

// Resolve is the function Resolve for this store.
func (s *Store) Resolve(name string) (Resolved, error) {
	var img Image
	var id string
	var err error
	for range resolveTries {
		if id, err = s.find(name); err != nil {
			return Resolved{}, err
		}
		// Between the two, the name can come to stand for another image.
		if img, err = s.load(id, nil); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return Resolved{}, err
	}
	return Resolved{
		Name: name, ID: id, Disk: img.DiskPath(), Format: img.format(), Size: img.Size,
		Kernel: img.file(img.Kernel), Initrd: img.file(img.Initrd), Cmdline: img.Cmdline, Agent: img.Agent,
	}, nil
}
