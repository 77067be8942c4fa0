package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// draft is an image that is being made, in a folder of its own. Either commit makes it an
// object of the store, or close leaves nothing of it.
type draft struct {
	store *Store
	dir   string
	lock  *os.File
}

// newDraft begins an image. It first clears away what makers that were killed left.
func (s *Store) newDraft() (*draft, error) {
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	s.sweep()
	d := &draft{store: s, dir: s.drafts(randomID())}
	if err := os.Mkdir(d.dir, 0o755); err != nil {
		return nil, err
	}
	if d.lock, err = lockFile(d.dir+draftLock, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, os.Remove(d.dir))
	}
	return d, nil
}

// draftLock ends the name of the file whose lock says that a draft's maker lives.
const draftLock = ".lock"

// sweep removes drafts whose maker is gone. What cannot be removed is left to the next.
func (s *Store) sweep() {
	entries, _ := os.ReadDir(s.drafts())
	for _, e := range entries {
		id, isLock := strings.CutSuffix(e.Name(), draftLock)
		lock, err := lockFile(s.drafts(id+draftLock), unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			continue
		}
		if !isLock {
			_ = os.RemoveAll(s.drafts(id))
		}
		_ = os.Remove(s.drafts(id + draftLock))
		_ = lock.Close()
	}
}

func (d *draft) path(name string) string { return filepath.Join(d.dir, name) }

// commit makes the draft an object with the manifest's id, and gives it a name. If the
// store has that object already, only the name is new. The object that had the name
// before goes, unless it has another name or a machine uses it.
func (d *draft) commit(m *Manifest, name string) (Image, error) {
	if err := CheckName(name); err != nil {
		return Image{}, err
	}
	if err := m.write(d.dir); err != nil {
		return Image{}, err
	}
	if err := syncTree(d.dir); err != nil {
		return Image{}, err
	}
	s := d.store
	unlock, err := s.lock()
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	err = os.Rename(d.dir, s.objects(m.ID))
	if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return Image{}, err
	}
	old, _ := s.find(name)
	if err := s.point(name, m.ID); err != nil {
		return Image{}, err
	}
	if old != "" && old != m.ID {
		s.retire(old)
	}
	return s.Get(name)
}

// point makes a name stand for an object, in one step.
func (s *Store) point(name, id string) error {
	link := s.drafts("name-" + randomID())
	if err := os.Symlink(filepath.Join("..", "objects", id), link); err != nil {
		return err
	}
	if err := os.Rename(link, s.names(name)); err != nil {
		return errors.Join(err, os.Remove(link))
	}
	return errors.Join(syncDir(s.names()), syncDir(s.objects()))
}

// retire removes an object that has lost its name. One in use stays, to be removed by id.
func (s *Store) retire(id string) {
	names, err := s.byID()
	if err != nil || len(names[id]) > 0 {
		return
	}
	img, err := s.load(id, names)
	if err != nil {
		return
	}
	if used, err := img.InUse(); err == nil && !used {
		_ = s.discard(img.Dir)
	}
}

// close removes what commit did not take.
func (d *draft) close() error {
	err := os.RemoveAll(d.dir)
	return errors.Join(err, os.Remove(d.dir+draftLock), d.lock.Close())
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// syncTree makes the files of a folder durable, and their names.
func syncTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := syncDir(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return syncDir(dir)
}
