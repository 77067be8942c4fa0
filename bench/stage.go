package bench

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// Stage is a folder in memory with all that a measurement runs and reads, so that
// no contestant waits for a disk.
type Stage struct {
	// Gureum is the program.
	Gureum                string
	dir                   string
	kernel, initrd, gokvm string
	ioInitrd              string
}

// memoryDir is a file system in memory on every Linux host (shm_overview(7)).
const memoryDir = "/dev/shm"

// NewStage copies what Prepare has written, and the programs, to memory; gokvm may
// be "". Gureum's cache is there, too, and empty.
func NewStage(prepared, gureum, gokvm string) (*Stage, error) {
	dir, err := os.MkdirTemp(memoryDir, "gureum-bench-")
	if err != nil {
		return nil, err
	}
	s := &Stage{dir: dir}
	copies := []struct {
		to   *string
		from string
	}{
		{&s.Gureum, gureum},
		{&s.kernel, filepath.Join(prepared, kernelFile)},
		{&s.initrd, filepath.Join(prepared, initrdFile)},
		{&s.gokvm, gokvm},
		{&s.ioInitrd, filepath.Join(prepared, ioInitrdFile)},
	}
	for _, c := range copies {
		if c.from == "" {
			continue
		}
		if _, err := os.Stat(c.from); c.to == &s.ioInitrd && os.IsNotExist(err) {
			continue // only MeasureIO wants it
		}
		*c.to = filepath.Join(dir, filepath.Base(c.from))
		if err := copyFile(*c.to, c.from); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, os.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
}

// Close removes the folder.
func (s *Stage) Close() error { return os.RemoveAll(s.dir) }

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
