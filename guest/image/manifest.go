package image

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gureum/gureum/guest/disk"
)

// manifestVersion is that of the manifest's fields. A reader refuses a later one.
const manifestVersion = 1

// Manifest says what an image is. It lies beside the image as manifest.json.
type Manifest struct {
	Version int       `json:"version"`
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	Source  string    `json:"source"` // what it was made from, for people
	OS      string    `json:"os,omitempty"`
	Format  string    `json:"format"`          // of the disk: raw or qcow2
	Disk    string    `json:"disk"`            // file in the image's folder
	Size    int64     `json:"size_bytes"`      // of the disk as a guest sees it
	Kernel  string    `json:"kernel"`          // file in the image's folder; "" for none
	Initrd  string    `json:"initrd"`          // file in the image's folder; "" for none
	Release string    `json:"release"`         // of the kernel
	Cmdline string    `json:"cmdline"`         // for the kernel: where the root is
	Agent   bool      `json:"agent,omitempty"` // the guest agent is installed
	Process *Process  `json:"process,omitempty"`
}

// Process is what a container image starts.
type Process struct {
	Entrypoint []string `json:"entrypoint,omitempty"`
	Cmd        []string `json:"cmd,omitempty"`
	Env        []string `json:"env,omitempty"`
	Dir        string   `json:"dir,omitempty"`
	User       string   `json:"user,omitempty"`
}

const manifestFile = "manifest.json"

func readManifest(dir string) (Manifest, error) {
	path := filepath.Join(dir, manifestFile)
	p, err := os.ReadFile(path)
	if err != nil {
		return Manifest{}, err
	}
	var m Manifest
	if err := json.Unmarshal(p, &m); err != nil {
		return Manifest{}, fmt.Errorf("%s: %w: remove the image and make it again", path, err)
	}
	if m.Version > manifestVersion {
		return Manifest{}, fmt.Errorf("%s: version %d is later than this gureum: update gureum", path, m.Version)
	}
	for _, name := range []string{m.Disk, m.Kernel, m.Initrd} {
		if name != "" && name != filepath.Base(name) {
			return Manifest{}, fmt.Errorf("%s: %q is not in the image's folder", path, name)
		}
	}
	return m, nil
}

func (m *Manifest) write(dir string) error {
	p, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, manifestFile), append(p, '\n'))
}

// writeFile writes a new file and makes it durable.
func writeFile(path string, p []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(p)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

func (m *Manifest) format() disk.Format { return disk.Format(m.Format) }
