package userland

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Files in the cache. They appear by rename, whole and synced, and never change,
// so that any number of starts can race.
const (
	archiveFile = "userland-" + archiveID + ".cpio"
	overlayFile = "overlay-" + archiveID + ".cpio"
	tempPrefix  = "tmp-"
	// unused is how old a file of another version, or a left-over, is when it
	// is removed.
	unused = 30 * 24 * time.Hour
)

// Open opens the unpacked archive for reading. The first call on a host unpacks
// it into dir ("" stands for gureum/userland in the user's cache directory); when
// that cannot be written, or others can write to it, the file is a temporary one
// without a name.
func Open(dir string) (*os.File, error) { return open(dir, archiveFile, archiveSize) }

// OpenOverlay opens the overlay in the same way.
func OpenOverlay(dir string) (*os.File, error) { return open(dir, overlayFile, overlaySize) }

func open(dir, name string, size int64) (*os.File, error) {
	dir, err := cacheDir(dir)
	if err == nil {
		if f, err := openCached(filepath.Join(dir, name), size); err == nil {
			return f, nil
		}
		err = fill(dir)
	}
	if err == nil {
		var f *os.File
		if f, err = openCached(filepath.Join(dir, name), size); err == nil {
			return f, nil
		}
	}
	f, tempErr := nameless(size)
	if tempErr != nil {
		return nil, fmt.Errorf("embedded user land: %w", errors.Join(err, tempErr))
	}
	return f, nil
}

// cacheDir finds the directory, and makes it. What is in it is believed, so
// nobody else may be able to write there.
func cacheDir(dir string) (string, error) {
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(user, "gureum", "userland")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	if !private(fi) {
		return "", fmt.Errorf("cache %s: others can write to it: chown it to yourself and chmod 700 it", dir)
	}
	return dir, nil
}

func private(fi fs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid() && fi.Mode().Perm()&0o022 == 0
}

func openCached(path string, size int64) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && (!fi.Mode().IsRegular() || fi.Size() != size || !private(fi)) {
		err = errors.Join(fmt.Errorf("cache %s: not as it was written", path), os.Remove(path))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// fill writes both files and removes those of other versions.
func fill(dir string) error {
	data := Archive()
	for name, part := range map[string][]byte{archiveFile: data, overlayFile: data[:overlaySize]} {
		if err := writeFile(dir, name, part); err != nil {
			return err
		}
	}
	prune(dir)
	return nil
}

func writeFile(dir, name string, data []byte) error {
	f, err := os.CreateTemp(dir, tempPrefix)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = f.Chmod(0o400)
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

func prune(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		ours := strings.HasPrefix(e.Name(), "userland-") || strings.HasPrefix(e.Name(), "overlay-") || strings.HasPrefix(e.Name(), tempPrefix)
		fi, err := e.Info()
		if err == nil && ours && e.Name() != archiveFile && e.Name() != overlayFile && time.Since(fi.ModTime()) > unused {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// nameless makes a file that lives as long as it is open.
func nameless(size int64) (*os.File, error) {
	f, err := os.CreateTemp("", "gureum-")
	if err != nil {
		return nil, err
	}
	err = os.Remove(f.Name())
	if err == nil {
		_, err = f.WriteAt(Archive()[:size], 0)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
