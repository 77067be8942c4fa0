package image

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/disk"
)

// Errors that callers decide on; match with errors.Is.
var (
	ErrNotFound = errors.New("no such image")
	ErrInUse    = errors.New("the image is in use")
	ErrName     = errors.New("bad image name")
)

// Store is a folder of images:
//
//	objects/ID/manifest.json, disk.raw or disk.qcow2, vmlinuz, initrd
//	names/NAME                -> ../objects/ID
//	drafts/ID/                images that are being made, with a lock on them
//	lock                      held by whoever changes names or objects
//
// An object never changes once it is there, so machines use it without a lock on the
// store; the lock on its disk (package disk) says that they do. A name moves to another
// object by one rename, and a draft becomes an object by one.
type Store struct{ dir string }

// EnvStore names the environment variable that says where the store is.
const EnvStore = "GUREUM_IMAGES"

// DefaultDir is where the store is: $GUREUM_IMAGES, else /var/lib/gureum/images for root,
// else gureum/images in the user's data folder (XDG Base Directory Specification).
func DefaultDir() (string, error) {
	if dir := os.Getenv(EnvStore); dir != "" {
		return filepath.Abs(dir)
	}
	if os.Geteuid() == 0 {
		return "/var/lib/gureum/images", nil
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "gureum/images"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no folder for images: %w: set %s", err, EnvStore)
	}
	return filepath.Join(home, ".local/share/gureum/images"), nil
}

// Open names the store in dir; "" is DefaultDir. Nothing is made before it is needed.
func Open(dir string) (*Store, error) {
	var err error
	if dir == "" {
		dir, err = DefaultDir()
	} else {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return nil, err
	}
	return &Store{dir}, nil
}

// Dir is the store's folder.
func (s *Store) Dir() string { return s.dir }

func (s *Store) objects(parts ...string) string {
	return filepath.Join(append([]string{s.dir, "objects"}, parts...)...)
}

func (s *Store) names(parts ...string) string {
	return filepath.Join(append([]string{s.dir, "names"}, parts...)...)
}

func (s *Store) drafts(parts ...string) string {
	return filepath.Join(append([]string{s.dir, "drafts"}, parts...)...)
}

const maxName = 128

// CheckName accepts letters, digits and . _ - : with a letter or digit first. There is no
// slash among them, so that an image's name is never taken for a path or the other way.
func CheckName(name string) error {
	for i, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("._-:", r)) {
			return fmt.Errorf("%w: %q: give letters and digits, and . _ - : between them", ErrName, name)
		}
	}
	if name == "" || len(name) > maxName {
		return fmt.Errorf("%w: %q: give 1 to %d characters", ErrName, name, maxName)
	}
	return nil
}

// Image is an image of the store.
type Image struct {
	Manifest
	Names []string // that stand for it, sorted
	Dir   string   // its folder
}

// find gives the id that a name, or the beginning of an id, stands for.
func (s *Store) find(ref string) (string, error) {
	if err := CheckName(ref); err != nil {
		return "", err
	}
	target, err := os.Readlink(s.names(ref))
	if err == nil {
		return filepath.Base(target), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	entries, err := os.ReadDir(s.objects())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	var found []string
	for _, e := range entries {
		if len(ref) >= minID && strings.HasPrefix(e.Name(), ref) {
			found = append(found, e.Name())
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("%w: %q is not in %s: see 'gureum image ls'", ErrNotFound, ref, s.dir)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%w: %q stands for %s: give more of it", ErrNotFound, ref, strings.Join(found, ", "))
}

// minID is how much of an id must be given.
const minID = 4

// Get finds an image by a name, or by the beginning of its id.
func (s *Store) Get(ref string) (Image, error) {
	id, err := s.find(ref)
	if err != nil {
		return Image{}, err
	}
	names, err := s.byID()
	if err != nil {
		return Image{}, err
	}
	return s.load(id, names)
}

func (s *Store) load(id string, names map[string][]string) (Image, error) {
	dir := s.objects(id)
	m, err := readManifest(dir)
	return Image{Manifest: m, Names: names[id], Dir: dir}, err
}

// byID lists names by what they stand for.
func (s *Store) byID() (map[string][]string, error) {
	entries, err := os.ReadDir(s.names())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	list := map[string][]string{}
	for _, e := range entries { // sorted
		if target, err := os.Readlink(s.names(e.Name())); err == nil && CheckName(e.Name()) == nil {
			list[filepath.Base(target)] = append(list[filepath.Base(target)], e.Name())
		}
	}
	return list, nil
}

// List lists all images, the newest first. An image that cannot be read does not hide the
// others: its error comes with them.
func (s *Store) List() ([]Image, error) {
	names, err := s.byID()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(s.objects())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var list []Image
	var errs []error
	for _, e := range entries {
		img, err := s.load(e.Name(), names)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		list = append(list, img)
	}
	slices.SortStableFunc(list, func(a, b Image) int { return b.Created.Compare(a.Created) })
	return list, errors.Join(errs...)
}

// DiskPath is the path of the image's disk.
func (i *Image) DiskPath() string { return filepath.Join(i.Dir, i.Disk) }

// Used is the room that the image takes on the host, in bytes.
func (i *Image) Used() int64 {
	var used int64
	for _, name := range []string{i.Disk, i.Kernel, i.Initrd} {
		var st unix.Stat_t
		if name != "" && unix.Stat(filepath.Join(i.Dir, name), &st) == nil {
			used += st.Blocks * 512
		}
	}
	return used
}

// InUse tells whether a machine has the image's disk open, or a persistent overlay is on it.
func (i *Image) InUse() (bool, error) {
	if len(i.overlays()) > 0 {
		return true, nil
	}
	// AllowBacking is not given: an image of the store stands alone.
	d, err := disk.Open(i.DiskPath(), disk.Options{Format: i.format()})
	switch {
	case errors.Is(err, disk.ErrLocked):
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	}
	return false, d.Close()
}

// lock takes the store's lock, and makes the store's folders.
func (s *Store) lock() (unlock func(), err error) {
	for _, dir := range []string{s.objects(), s.names(), s.drafts()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("image store: %w", err)
		}
	}
	f, err := lockFile(filepath.Join(s.dir, "lock"), unix.LOCK_EX)
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	return func() { _ = f.Close() }, nil
}

// lockFile opens a file and takes a flock(2) on it, which ends with the descriptor.
func lockFile(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// Remove takes a name away, and with an image's last name the image. By its id, an image
// goes with all its names. An image that a machine uses gives ErrInUse, unless forced: the
// machine keeps what it has open, but cannot be started again from it.
func (s *Store) Remove(ref string, force bool) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	img, err := s.Get(ref)
	if err != nil && (!force || errors.Is(err, ErrNotFound) || errors.Is(err, ErrName)) {
		return err
	}
	id, err := s.find(ref)
	if err != nil {
		return err
	}
	byName := slices.Contains(img.Names, ref)
	if byName && len(img.Names) > 1 {
		return os.Remove(s.names(ref))
	}
	if !force {
		used, err := img.InUse()
		if err != nil {
			return err
		}
		if overlays := img.overlays(); len(overlays) > 0 {
			return fmt.Errorf("%w: %s: the disk %s is an overlay on it", ErrInUse, ref, overlays[0])
		}
		if used {
			return fmt.Errorf("%w: %s: stop the machine that runs on it, or force", ErrInUse, ref)
		}
	}
	for _, name := range img.Names {
		if err := os.Remove(s.names(name)); err != nil {
			return err
		}
	}
	return s.discard(s.objects(id))
}

// discard removes a folder: first its name, at once, then what is in it.
func (s *Store) discard(dir string) error {
	gone := s.drafts("removed-" + randomID())
	if err := os.Rename(dir, gone); err != nil {
		return err
	}
	return os.RemoveAll(gone)
}

func randomID() string {
	var p [8]byte
	_, _ = rand.Read(p[:]) // it never fails
	return hex.EncodeToString(p[:])
}

// file is the path of a file of the image, "" for "".
func (i *Image) file(name string) string {
	if name == "" {
		return ""
	}
	return filepath.Join(i.Dir, name)
}
