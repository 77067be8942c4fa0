package image

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/disk"
)

// Scratch is a qcow2 overlay that lasts as long as one machine.
type Scratch struct {
	Path string
	lock *os.File
}

// scratchPrefix begins the names of scratch overlays.
const scratchPrefix = "scratch-"

// NewScratch makes an overlay on the image in a folder of the user's own below $TMPDIR,
// or /var/tmp. size is that of its disk in bytes, 0 for that of the image. Close removes
// it; what a process that was killed leaves, the next call removes.
func (r *Resolved) NewScratch(size int64) (*Scratch, error) {
	dir, err := scratchDir()
	if err != nil {
		return nil, fmt.Errorf("scratch disk: %w", err)
	}
	sweepScratch(dir)
	s := &Scratch{Path: filepath.Join(dir, scratchPrefix+randomID()+".qcow2")}
	if err := disk.CreateOverlay(s.Path, r.Disk, disk.OverlayOptions{BaseFormat: r.Format, Size: size}); err != nil {
		return nil, fmt.Errorf("scratch disk: %w", err)
	}
	// This flock(2) is apart from the lock on the image (package disk), which is
	// taken and given up with each machine.
	if s.lock, err = lockFile(s.Path, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, os.Remove(s.Path))
	}
	return s, nil
}

// Close removes the overlay.
func (s *Scratch) Close() error { return errors.Join(os.Remove(s.Path), s.lock.Close()) }

func scratchDir() (string, error) {
	parent := os.Getenv("TMPDIR")
	if parent == "" {
		parent = "/var/tmp" // on a disk, where /tmp may be memory
	}
	dir := filepath.Join(parent, fmt.Sprintf("gureum-%d", os.Geteuid()))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	// The parent is everybody's: the folder may be somebody else's, or a link.
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return "", &fs.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return "", fmt.Errorf("%s is not a folder of your own that others cannot enter: remove it, or set TMPDIR", dir)
	}
	return dir, nil
}

// scratchGrace is how old an overlay without a lock must be for its maker to be gone: it
// takes the lock right after making the file.
const scratchGrace = time.Minute

func sweepScratch(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !strings.HasPrefix(e.Name(), scratchPrefix) || !info.Mode().IsRegular() || time.Since(info.ModTime()) < scratchGrace {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if lock, err := lockFile(path, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			_ = os.Remove(path)
			_ = lock.Close()
		}
	}
}

// OpenOverlay sees to a persistent overlay of the image at path: it makes one, or finds
// that one is there, which may be on an older image of that name. It returns what boots
// it. The store keeps the image under an overlay for as long as the overlay's file is
// there; see Remove.
func (s *Store) OpenOverlay(r Resolved, path string, size int64) (Resolved, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return r, err
	}
	info, err := disk.Info(path, disk.Qcow2)
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.keep(r.ID, path); err != nil {
			return r, err
		}
		return r, disk.CreateOverlay(path, r.Disk, disk.OverlayOptions{BaseFormat: r.Format, Size: size})
	}
	if err != nil {
		return r, err
	}
	if size != 0 && size != info.VirtualSize {
		return r, fmt.Errorf("%s: it has %d bytes already: leave the size out", path, info.VirtualSize)
	}
	object := filepath.Dir(info.Backing)
	if !filepath.IsAbs(object) {
		object = filepath.Join(filepath.Dir(path), object)
	}
	id := filepath.Base(object)
	if filepath.Dir(object) != s.objects() {
		return r, fmt.Errorf("%s: it is no overlay on an image of %s but on %q", path, s.dir, info.Backing)
	}
	if id == r.ID {
		return r, nil
	}
	base, err := s.Resolve(id)
	if err != nil {
		return r, fmt.Errorf("%s: %w: the image that it is on was removed", path, err)
	}
	return base, nil
}

// keptDir is the folder of an object that has a link to each persistent overlay.
const keptDir = "overlays"

// keep notes an overlay with the image that it is on.
func (s *Store) keep(id, path string) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	dir := s.objects(id, keptDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(path))
	err = os.Symlink(path, filepath.Join(dir, hex.EncodeToString(sum[:8])))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// overlays lists the persistent overlays on the image that are there.
func (i *Image) overlays() []string {
	var found []string
	entries, _ := os.ReadDir(filepath.Join(i.Dir, keptDir))
	for _, e := range entries {
		path, err := os.Readlink(filepath.Join(i.Dir, keptDir, e.Name()))
		if err != nil {
			continue
		}
		if _, err := os.Lstat(path); err == nil {
			found = append(found, path)
		}
	}
	return found
}
