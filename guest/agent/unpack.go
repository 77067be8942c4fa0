package agent

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
)

// unpacker writes the entries of a copy below a directory, whatever they say: os.Root
// refuses names and links that lead out of it. A file is there in full or not at all.
type unpacker struct {
	r      *bufio.Reader
	root   *os.Root
	top    string // what the copied object is called in root
	mask   uint16 // bits that a mode may have
	left   CopyLimits
	closed []entry // directories, whose mode and time come last
}

// unpack reads a copy. If dest is a directory, or ends in a slash, the object goes
// into it and is called base there; else dest is what it is called. mask are the bits
// of modes that are kept.
func unpack(r io.Reader, dest, base string, mask uint16, limits CopyLimits) error {
	dir, top := path.Split(dest)
	st, err := os.Stat(dest)
	switch {
	case err == nil && st.IsDir(), top == "", top == ".", top == "..":
		dir, top = dest, base
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if dir == "" {
		dir = "."
	}
	if top == "" || !validName(top) || strings.Contains(top, "/") {
		return &fs.PathError{Op: "copy", Path: dest, Err: errors.New("its last part is no name for a file: name one")}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	u := &unpacker{r: bufio.NewReaderSize(r, chunk), root: root, top: top, mask: mask, left: limits.orDefault()}
	return u.run()
}

func (u *unpacker) run() error {
	for first := true; ; first = false {
		e, err := readEntry(u.r)
		if err != nil {
			return cutShort(err)
		}
		if e.kind == entryEnd && !first {
			return u.finish()
		}
		if (e.name == "") != first {
			return &ProtocolError{"copy does not begin with its top, or has several"}
		}
		if u.left.Entries--; u.left.Entries < 0 {
			return errors.New("copy has more files than it may: raise the limit")
		}
		if u.left.Bytes -= e.size; u.left.Bytes < 0 {
			return errors.New("copy is larger than it may be: raise the limit")
		}
		if err := u.take(&e); err != nil {
			return err
		}
	}
}

// cutShort says what the end of a stream means. (This package's guest side does
// without fmt, which is a third of a small program.)
func cutShort(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.Join(errors.New("copy is cut short"), err)
	}
	return err
}

func (u *unpacker) take(e *entry) error {
	name := u.top
	if e.name != "" {
		name += "/" + e.name
	}
	e.name = name
	switch e.kind {
	case entryDirectory:
		return u.directory(e)
	case entrySymlink:
		return u.replace(name, func(temp string) error { return u.root.Symlink(e.target, temp) })
	}
	return u.replace(name, func(temp string) error { return u.file(temp, e) })
}

// directory makes one that can be written to until all is there.
func (u *unpacker) directory(e *entry) error {
	err := u.root.Mkdir(e.name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		var st fs.FileInfo
		if st, err = u.root.Lstat(e.name); err == nil && !st.IsDir() {
			err = &fs.PathError{Op: "mkdir", Path: e.name, Err: syscall.ENOTDIR}
		}
	}
	if err == nil {
		u.closed = append(u.closed, *e)
	}
	return err
}

// replace has something made under another name first.
func (u *unpacker) replace(name string, build func(temp string) error) error {
	temp := path.Dir(name) + "/.gureum-" + strconv.FormatUint(rand.Uint64(), 36)
	err := build(temp)
	if err == nil {
		err = u.root.Rename(temp, name)
	}
	if err != nil {
		_ = u.root.Remove(temp) // if it is there
	}
	return err
}

func (u *unpacker) file(temp string, e *entry) error {
	f, err := u.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = io.CopyN(f, u.r, e.size); err != nil {
		err = noEOF(err)
	}
	if err == nil {
		err = f.Chmod(goMode(e.mode & u.mask))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return u.root.Chtimes(temp, e.mtime, e.mtime)
}

// finish gives directories their modes and times, inner ones first.
func (u *unpacker) finish() error {
	for i := len(u.closed) - 1; i >= 0; i-- {
		e := &u.closed[i]
		if err := u.root.Chtimes(e.name, e.mtime, e.mtime); err != nil {
			return err
		}
		if err := u.root.Chmod(e.name, goMode(e.mode&u.mask)); err != nil {
			return err
		}
	}
	return nil
}
