package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The cache is a directory of ELF kernels, each with a trailer of ours behind it:
//
//	p-HASH   unpacked from the bzImage payload of that SHA-256
//	e-ID     unpacked from an embedded image of that ID
//	s-KEY    for a file with that identity (device, inode, size, times): a symbolic
//	         link to a p-HASH
//	tmp-*    being written
//
// Files appear by rename, whole and synced, and never change, so that any number of
// starts can race. A start with an s-KEY reads no more of its image than the first
// page, and hashes nothing.
type cache struct{ dir string }

const (
	payloadPrefix  = "p-"
	embeddedPrefix = "e-"
	statPrefix     = "s-"
	tempPrefix     = "tmp-"
)

func payloadName(hash string) string { return payloadPrefix + hash }
func statName(key string) string     { return statPrefix + key }

// racyWindow is how long a file must have been left alone before its times name
// its content: a second change within a clock tick would not show.
var racyWindow = 2 * time.Second

// statKey names the content of a file by its identity, or is "" if it was
// changed just now.
func statKey(fi fs.FileInfo) string {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	now := time.Now().UnixNano()
	if window := int64(racyWindow); now-st.Mtim.Nano() < window || now-st.Ctim.Nano() < window {
		return ""
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano())
}

// findCache finds the cache directory, dir or the user's, if it is there and
// nobody else can write to it.
func findCache(dir string) (*cache, error) {
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("kernel cache: %w", err)
		}
		dir = filepath.Join(user, "gureum", "kernels")
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return &cache{dir}, err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	switch {
	case !fi.IsDir():
		return nil, fmt.Errorf("kernel cache %s: not a directory", dir)
	case !ok || int(st.Uid) != os.Geteuid():
		return nil, fmt.Errorf("kernel cache %s: belongs to another user", dir)
	case fi.Mode().Perm()&0o022 != 0:
		return nil, fmt.Errorf("kernel cache %s: others can write to it: chmod 700 it", dir)
	}
	return &cache{dir}, nil
}

// makeCache finds the cache directory or makes it.
func makeCache(dir string) (*cache, error) {
	c, err := findCache(dir)
	if errors.Is(err, fs.ErrNotExist) && c != nil {
		if err := os.MkdirAll(c.dir, 0o700); err != nil {
			return nil, fmt.Errorf("kernel cache: %w", err)
		}
		return findCache(c.dir)
	}
	return c, err
}

func (c *cache) path(name string) string { return filepath.Join(c.dir, name) }

// trailer lies behind each ELF in the cache. It says that the file is whole, and
// what it is.
type trailer struct {
	size   uint64 // of the ELF before it
	name   string // of the file
	label  string // for people: a version, or where it came from
	format Format // of the image that it came from
}

const (
	trailerSize  = 512
	trailerMagic = "gureum kernel 1\n"
	trailerName  = 96  // bytes at 32
	trailerLabel = 256 // bytes at 128
)

func (t trailer) encode(b []byte) {
	clear(b[:trailerSize])
	copy(b, trailerMagic)
	binary.LittleEndian.PutUint64(b[16:], t.size)
	b[28] = byte(t.format)
	copy(b[32:][:trailerName-1], t.name)
	copy(b[128:][:trailerLabel-1], t.label)
	binary.LittleEndian.PutUint32(b[24:], crc32.ChecksumIEEE(b[:trailerSize]))
}

func decodeTrailer(b []byte) (trailer, bool) {
	if string(b[:len(trailerMagic)]) != trailerMagic {
		return trailer{}, false
	}
	var plain [trailerSize]byte
	copy(plain[:], b)
	clear(plain[24:28])
	if crc32.ChecksumIEEE(plain[:]) != binary.LittleEndian.Uint32(b[24:]) {
		return trailer{}, false
	}
	return trailer{
		size: binary.LittleEndian.Uint64(b[16:]), format: Format(b[28]),
		name: cstring(b[32:][:trailerName]), label: printable(b[128:][:trailerLabel]),
	}, true
}

func cstring(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

// open opens the ELF of that name and returns its size. A file that is not whole
// is removed.
func (c *cache) open(name string, exact bool) (*os.File, uint64, error) {
	path := c.path(name)
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	t, err := readTrailer(f)
	if err == nil && exact && t.name != name {
		err = fmt.Errorf("it holds %s", t.name)
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("kernel cache %s: %w", path, err), f.Close(), os.Remove(path))
	}
	c.touch(f)
	return f, t.size, nil
}

// readTrailer reads the trailer of a cached file, and checks that the file is
// whole.
func readTrailer(f *os.File) (trailer, error) {
	st, err := f.Stat()
	if err != nil {
		return trailer{}, err
	}
	size := uint64(st.Size())
	var b [trailerSize]byte
	if size < trailerSize || !st.Mode().IsRegular() {
		return trailer{}, errTruncated
	}
	if err := readAt(f, b[:], size-trailerSize, size); err != nil {
		return trailer{}, err
	}
	t, ok := decodeTrailer(b[:])
	if !ok || t.size != size-trailerSize {
		return trailer{}, errTruncated
	}
	return t, nil
}

// useGrain is how exactly the time of a kernel's last use is kept.
const useGrain = 24 * time.Hour

// touch notes, in the file's time, that it is in use.
func (c *cache) touch(f *os.File) {
	if st, err := f.Stat(); err == nil && time.Since(st.ModTime()) > useGrain {
		now := unix.NsecToTimeval(time.Now().UnixNano())
		_ = unix.Futimes(int(f.Fd()), []unix.Timeval{now, now}) // only the order of removal hangs on it
	}
}

// link lets name stand for target. Another start may have done it already.
func (c *cache) link(name, target string) error {
	err := os.Symlink(target, c.path(name))
	if errors.Is(err, fs.ErrExist) {
		if have, rerr := os.Readlink(c.path(name)); rerr == nil && have == target {
			return nil
		}
		// Left from a broken file: make room, and let the next start link.
		err = os.Remove(c.path(name))
	}
	if err != nil {
		return fmt.Errorf("kernel cache: %w", err)
	}
	return nil
}
