package ext4

import (
	"fmt"
	"slices"
	"strings"
)

// Extended attributes (fs/ext4/xattr.h). A few short ones fit behind the inode; else all
// of a file's lie in a block of its own.
const (
	xattrMagic       = 0xEA020000
	xattrInodeHeader = 4
	xattrBlockHeader = 32
	xattrEntry       = 16
	xattrInodeRoom   = inodeSize - inodeBase - xattrInodeHeader
	xattrBlockRoom   = BlockSize - xattrBlockHeader
)

// xattrPrefixes are the numbers that stand for the beginnings of names.
var xattrPrefixes = [...]struct {
	prefix string
	index  byte
}{{"user.", 1}, {"trusted.", 4}, {"security.", 6}}

// KeepsXattr tells whether a file system can have an attribute of that name.
func KeepsXattr(name string) bool {
	for _, p := range xattrPrefixes {
		if strings.HasPrefix(name, p.prefix) && len(name) > len(p.prefix) {
			return true
		}
	}
	return name == "system.posix_acl_access" || name == "system.posix_acl_default"
}

type xattr struct {
	index byte
	name  string
	value string
}

// encodeXattrs sorts attributes as the kernel wants them. It refuses those that the
// format has no number for, and more than fit into a block.
func encodeXattrs(attrs map[string]string) ([]xattr, error) {
	list := make([]xattr, 0, len(attrs))
	room := xattrBlockRoom - 4
	for name, value := range attrs {
		x, err := newXattr(name, value)
		if err != nil {
			return nil, err
		}
		for _, p := range xattrPrefixes {
			if rest, ok := strings.CutPrefix(name, p.prefix); ok && rest != "" {
				x.index, x.name = p.index, rest
			}
		}
		if x.index == 0 || len(x.name) > maxNameLen || strings.IndexByte(x.name, 0) >= 0 {
			return nil, fmt.Errorf("extended attribute %.60q: give user., trusted. or security. and a name", name)
		}
		if room -= x.space(); room < 0 {
			return nil, fmt.Errorf("%w: extended attributes of more than %d bytes", ErrNoSpace, xattrBlockRoom)
		}
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b xattr) int {
		if a.index != b.index {
			return int(a.index) - int(b.index)
		}
		if len(a.name) != len(b.name) {
			return len(a.name) - len(b.name)
		}
		return strings.Compare(a.name, b.name)
	})
	return list, nil
}

func pad4(n int) int { return (n + 3) &^ 3 }

func (x *xattr) space() int { return xattrEntry + pad4(len(x.name)) + pad4(len(x.value)) }

// hash is ext4_xattr_hash_entry.
func (x *xattr) hash() uint32 {
	var h uint32
	for i := range len(x.name) {
		h = h<<5 ^ h>>27 ^ uint32(x.name[i])
	}
	value := make([]byte, pad4(len(x.value)))
	copy(value, x.value)
	for ; len(value) > 0; value = value[4:] {
		h = h<<16 ^ h>>16 ^ le.Uint32(value)
	}
	return h
}

// fitsInode tells whether all fit behind the inode.
func fitsInode(list []xattr) bool {
	room := xattrInodeRoom - 4 // a zero ends the entries
	for i := range list {
		room -= list[i].space()
	}
	return room >= 0
}

// putXattrs writes entries from the beginning of p and values from its end. Values are
// counted from the byte that lies base before p.
func putXattrs(p []byte, list []xattr, base int) {
	at, end := 0, len(p)
	for i := range list {
		x := &list[i]
		end -= pad4(len(x.value))
		copy(p[end:], x.value)
		p[at] = byte(len(x.name))
		p[at+1] = x.index
		if x.value != "" {
			le.PutUint16(p[at+2:], uint16(base+end))
		}
		le.PutUint32(p[at+8:], uint32(len(x.value)))
		le.PutUint32(p[at+12:], x.hash())
		copy(p[at+xattrEntry:], x.name)
		at += xattrEntry + pad4(len(x.name))
	}
}

// xattrBlock builds the block that holds attributes.
func (w *Writer) xattrBlock(list []xattr, block uint64) []byte {
	p := make([]byte, BlockSize)
	le.PutUint32(p, xattrMagic)
	le.PutUint32(p[4:], 1) // inodes that use it
	le.PutUint32(p[8:], 1) // blocks
	putXattrs(p[xattrBlockHeader:], list, xattrBlockHeader)
	var h uint32
	for i := range list {
		h = h<<16 ^ h>>16 ^ list[i].hash()
	}
	le.PutUint32(p[12:], h)
	var number [8]byte
	le.PutUint64(number[:], block)
	le.PutUint32(p[16:], checksum(checksum(w.seed, number[:]), p))
	return p
}
