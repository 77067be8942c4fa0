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
	Gureum              string
	dir, kernel, initrd string
}

// memoryDir is a file system in memory on every Linux host (shm_overview(7)).
const memoryDir = "/dev/shm"

// NewStage copies the program, and what Prepare has written, to memory; prepared is "" where
// no guest is to boot that. Gureum's cache is there, too, and empty.
func NewStage(prepared, gureum string) (*Stage, error) {
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
	}
	if prepared == "" {
		copies = copies[:1]
	}
	for _, c := range copies {
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
