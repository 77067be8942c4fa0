package agent

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
)

// A copy is a stream of entries: a header, and for a file its contents. The object
// that is copied comes first, under the name ""; what is below a directory has names
// relative to it, and comes behind the directory itself.
//
//	kind u8, mode u16, mtime s64 + u32 (seconds, nanoseconds), size u64,
//	name string, target string

// Kinds of entries.
const (
	entryFile      = 'F'
	entryDirectory = 'D'
	entrySymlink   = 'L'
	entryEnd       = 'E' // the last one: what came is complete
)

const (
	// maxName bounds names and targets, as PATH_MAX does.
	maxName = 4096
	// modeBits are those of a mode that travel; which of them are set is the
	// receiver's affair.
	modeBits = 0o7777
)

// CopyLimits bound what a copy may bring.
type CopyLimits struct {
	Bytes   int64 // contents of files in all; 0 is DefaultCopyBytes
	Entries int   // files, directories and links; 0 is DefaultCopyEntries
}

// Limits of a copy from a guest that are in force if no others are given.
const (
	DefaultCopyBytes   = 64 << 30
	DefaultCopyEntries = 1 << 20
)

func (l CopyLimits) orDefault() CopyLimits {
	if l.Bytes == 0 {
		l.Bytes = DefaultCopyBytes
	}
	if l.Entries == 0 {
		l.Entries = DefaultCopyEntries
	}
	return l
}

// entry is one header.
type entry struct {
	kind         byte
	mode         uint16
	mtime        time.Time
	size         int64
	name, target string
}

const entryFixed = 1 + 2 + 8 + 4 + 8

func (e *entry) write(w *bufio.Writer) error {
	var b [entryFixed]byte
	b[0] = e.kind
	binary.LittleEndian.PutUint16(b[1:], e.mode)
	if !e.mtime.IsZero() {
		binary.LittleEndian.PutUint64(b[3:], uint64(e.mtime.Unix()))
		binary.LittleEndian.PutUint32(b[11:], uint32(e.mtime.Nanosecond()))
	}
	binary.LittleEndian.PutUint64(b[15:], uint64(e.size))
	_, _ = w.Write(b[:]) // a bufio.Writer keeps its error for the next call
	for _, s := range [...]string{e.name, e.target} {
		binary.LittleEndian.PutUint32(b[:], uint32(len(s)))
		_, _ = w.Write(b[:4])
		if _, err := w.WriteString(s); err != nil {
			return err
		}
	}
	return nil
}

// readEntry reads a header and checks all that can be checked without a file system.
func readEntry(r *bufio.Reader) (entry, error) {
	var b [entryFixed]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return entry{}, noEOF(err)
	}
	e := entry{
		kind: b[0], mode: binary.LittleEndian.Uint16(b[1:]),
		size: int64(binary.LittleEndian.Uint64(b[15:])),
	}
	nsec := binary.LittleEndian.Uint32(b[11:])
	e.mtime = time.Unix(int64(binary.LittleEndian.Uint64(b[3:])), int64(nsec))
	var err error
	if e.name, err = readName(r); err != nil {
		return e, err
	}
	if e.target, err = readName(r); err != nil {
		return e, err
	}
	switch {
	case e.mode&^modeBits != 0 || nsec >= 1e9 || e.size < 0:
		return e, &ProtocolError{"malformed entry of a copy"}
	case e.kind != entryFile && e.size != 0, (e.kind == entrySymlink) != (e.target != ""):
		return e, &ProtocolError{"entry of a copy with what its kind has not"}
	case e.kind == entryEnd && e.name == "", (e.kind == entryFile || e.kind == entryDirectory || e.kind == entrySymlink) && validName(e.name):
		return e, nil
	}
	return e, &ProtocolError{"entry of a copy of an unknown kind, or with a name that leads elsewhere"}
}

func readName(r *bufio.Reader) (string, error) {
	var b [4]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return "", noEOF(err)
	}
	n := binary.LittleEndian.Uint32(b[:])
	if n > maxName {
		return "", &ProtocolError{"name of more than 4096 bytes in a copy"}
	}
	if n == 0 {
		return "", nil
	}
	s := make([]byte, n)
	if _, err := io.ReadFull(r, s); err != nil {
		return "", noEOF(err)
	}
	if hasNUL(string(s)) {
		return "", &ProtocolError{"name with a NUL byte in a copy"}
	}
	return string(s), nil
}

// validName accepts "" and paths whose elements all go down.
func validName(name string) bool {
	if name == "" {
		return true
	}
	for element := range strings.SplitSeq(name, "/") {
		if element == "" || element == "." || element == ".." {
			return false
		}
	}
	return true
}

// pack writes what is at path. A symbolic link there is followed, others are copied
// as links. Sockets, pipes and devices are left out: they mean nothing elsewhere.
func pack(w io.Writer, path string) error {
	p := &packer{w: bufio.NewWriterSize(w, chunk)}
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() && !st.IsDir() {
		return &fs.PathError{Op: "copy", Path: path, Err: errors.New("neither a file nor a directory")}
	}
	if err := p.add(path, "", st); err != nil {
		return err
	}
	end := entry{kind: entryEnd}
	if err := end.write(p.w); err != nil {
		return err
	}
	return p.w.Flush()
}

type packer struct{ w *bufio.Writer }

func (p *packer) add(path, name string, st fs.FileInfo) error {
	e := entry{mode: unixMode(st.Mode()), mtime: st.ModTime(), name: name}
	switch st.Mode().Type() {
	case 0:
		return p.file(path, e)
	case fs.ModeDir:
		e.kind = entryDirectory
		if err := e.write(p.w); err != nil {
			return err
		}
		return p.directory(path, name)
	case fs.ModeSymlink:
		var err error
		if e.target, err = os.Readlink(path); err != nil {
			return err
		}
		e.kind = entrySymlink
		return e.write(p.w)
	}
	return nil
}

func (p *packer) directory(path, name string) error {
	list, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, d := range list {
		st, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone in the meantime
		}
		if err != nil {
			return err
		}
		below := d.Name()
		if name != "" {
			below = name + "/" + below
		}
		if err := p.add(path+"/"+d.Name(), below, st); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) file(path string, e entry) error {
	// O_NONBLOCK, as somebody may put a pipe there just now.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return &fs.PathError{Op: "copy", Path: path, Err: errors.New("is no file any more")}
	}
	e.kind, e.size = entryFile, st.Size()
	if err := e.write(p.w); err != nil {
		return err
	}
	_, err = io.CopyN(p.w, f, e.size)
	if errors.Is(err, io.EOF) {
		return &fs.PathError{Op: "copy", Path: path, Err: errors.New("became shorter while it was copied")}
	}
	return err
}

// unixMode is a mode as chmod(2) has it.
func unixMode(m fs.FileMode) uint16 {
	bits := uint16(m.Perm())
	if m&fs.ModeSetuid != 0 {
		bits |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		bits |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return bits
}

// goMode is the reverse of unixMode.
func goMode(bits uint16) fs.FileMode {
	m := fs.FileMode(bits & 0o777)
	if bits&0o4000 != 0 {
		m |= fs.ModeSetuid
	}
	if bits&0o2000 != 0 {
		m |= fs.ModeSetgid
	}
	if bits&0o1000 != 0 {
		m |= fs.ModeSticky
	}
	return m
}
