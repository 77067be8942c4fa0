package fs

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Sizes of the headers, struct fuse_in_header and struct fuse_out_header.
const (
	inHeader  = 40
	outHeader = 16
)

// header is a request's.
type header struct {
	size   uint32 // of all of it
	opcode uint32
	unique uint64
	node   uint64
}

// parseHeader gives false for what is too short to be a request.
func parseHeader(b []byte) (header, bool) {
	if len(b) < inHeader {
		return header{}, false
	}
	return header{
		size:   binary.LittleEndian.Uint32(b[0:]),
		opcode: binary.LittleEndian.Uint32(b[4:]),
		unique: binary.LittleEndian.Uint64(b[8:]),
		node:   binary.LittleEndian.Uint64(b[16:]),
	}, true
}

// putHeader writes a struct fuse_out_header for a body of n bytes.
func putHeader(b []byte, n int, unique uint64, errno unix.Errno) {
	binary.LittleEndian.PutUint32(b[0:], uint32(outHeader+n))
	binary.LittleEndian.PutUint32(b[4:], uint32(-int32(errno)))
	binary.LittleEndian.PutUint64(b[8:], unique)
}

// args reads the rest of a request from front to back. Reading too much gives zeroes
// and makes bad true.
type args struct {
	b   []byte
	bad bool
}

func (a *args) take(n int) []byte {
	if n > len(a.b) {
		a.bad = true
		return make([]byte, 8)[:min(n, 8)]
	}
	p := a.b[:n]
	a.b = a.b[n:]
	return p
}

func (a *args) u32() uint32 { return binary.LittleEndian.Uint32(a.take(4)) }
func (a *args) u64() uint64 { return binary.LittleEndian.Uint64(a.take(8)) }
func (a *args) skip(n int) {
	if n > len(a.b) {
		a.bad, a.b = true, nil
		return
	}
	a.b = a.b[n:]
}

// text reads a string that ends in a NUL.
func (a *args) text() string {
	for i, c := range a.b {
		if c == 0 {
			s := string(a.b[:i])
			a.b = a.b[i+1:]
			return s
		}
	}
	a.bad = true
	return ""
}

// name reads a name: one component of a path, which leads nowhere but down.
func (a *args) name() (string, unix.Errno) {
	s := a.text()
	if a.bad {
		return "", unix.EINVAL
	}
	if len(s) > unix.NAME_MAX {
		return "", unix.ENAMETOOLONG
	}
	if s == "" || s == "." || s == ".." {
		return "", unix.EINVAL
	}
	for i := range len(s) {
		if s[i] == '/' {
			return "", unix.EINVAL
		}
	}
	return s, 0
}

// reply is the body of an answer as it grows.
type reply struct {
	b     []byte
	owner Owner
}

func (r *reply) u16(v uint16) { r.b = binary.LittleEndian.AppendUint16(r.b, v) }
func (r *reply) u32(v uint32) { r.b = binary.LittleEndian.AppendUint32(r.b, v) }
func (r *reply) u64(v uint64) { r.b = binary.LittleEndian.AppendUint64(r.b, v) }

// valid is how long the guest may believe names and attributes, in seconds: what the
// host does to the folder shows after this time.
const valid = 1

// attr appends a struct fuse_attr.
func (r *reply) attr(st *unix.Stat_t) {
	for _, v := range [...]uint64{
		st.Ino, uint64(st.Size), uint64(st.Blocks),
		uint64(st.Atim.Sec), uint64(st.Mtim.Sec), uint64(st.Ctim.Sec),
	} {
		r.u64(v)
	}
	uid, gid := r.owner.shown(st.Uid, st.Gid)
	for _, v := range [...]uint32{
		uint32(st.Atim.Nsec), uint32(st.Mtim.Nsec), uint32(st.Ctim.Nsec),
		st.Mode, uint32(min(st.Nlink, 1<<32-1)), uid, gid, uint32(st.Rdev), uint32(st.Blksize), 0,
	} {
		r.u32(v)
	}
}

// entry appends a struct fuse_entry_out.
func (r *reply) entry(node uint64, st *unix.Stat_t) {
	r.u64(node)
	r.u64(0) // generation: node numbers are not used again
	r.u64(valid)
	r.u64(valid)
	r.u64(0) // nanoseconds of both
	r.attr(st)
}

// attrOut appends a struct fuse_attr_out.
func (r *reply) attrOut(st *unix.Stat_t) {
	r.u64(valid)
	r.u64(0)
	r.attr(st)
}

// open appends a struct fuse_open_out.
func (r *reply) open(handle uint64) {
	r.u64(handle)
	r.u64(0)
}

// dirent appends a struct fuse_dirent, if it fits into limit bytes in all.
func (r *reply) dirent(limit int, ino, off uint64, kind uint8, name []byte) bool {
	const head, align = 24, 8
	padded := (head + len(name) + align - 1) &^ (align - 1)
	if len(r.b)+padded > limit {
		return false
	}
	end := len(r.b) + padded
	r.u64(ino)
	r.u64(off)
	r.u32(uint32(len(name)))
	r.u32(uint32(kind))
	r.b = append(r.b, name...)
	for len(r.b) < end {
		r.b = append(r.b, 0)
	}
	return true
}
