package ext4

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"
)

// ErrFormat is the error of an image that is no ext4, or one that contradicts itself.
var ErrFormat = errors.New("not a sound ext4 file system")

// Reader finds files in a file system, which may come from a stranger: every number is
// checked before it is used. It does not replay a journal: what an unclean file system
// has there is not seen. It is for one goroutine.
type Reader struct {
	r              io.ReaderAt
	uuid           [16]byte
	blockSize      int64
	blocks         uint64
	descSize       int64
	inodeSize      int64
	inodesPerGroup uint32
	inodes         uint32
	firstData      uint64
	needsRecovery  bool
}

// Inode is what a Reader found.
type Inode struct {
	Attr
	Number uint32
	Links  uint32
	Size   int64

	block [60]byte
	flags uint32
}

// knownIncompat are the features that this reader has learned.
const knownIncompat = incompatFiletype | incompatRecover | incompatExtents | incompat64bit | incompatFlexBG | incompatCsumSeed

// OpenReader reads the superblock of the file system in r.
func OpenReader(r io.ReaderAt) (*Reader, error) {
	var p [superSize]byte
	if _, err := r.ReadAt(p[:], superOffset); err != nil {
		return nil, fmt.Errorf("read superblock: %w", err)
	}
	if le.Uint16(p[0x38:]) != superMagic {
		return nil, fmt.Errorf("%w: no ext4 superblock", ErrFormat)
	}
	log, incompat := le.Uint32(p[0x18:]), le.Uint32(p[0x60:])
	f := &Reader{
		r: r, descSize: 32, inodeSize: 128, blocks: uint64(le.Uint32(p[0x04:])),
		inodes: le.Uint32(p[0:]), inodesPerGroup: le.Uint32(p[0x28:]), firstData: uint64(le.Uint32(p[0x14:])),
		needsRecovery: incompat&incompatRecover != 0,
	}
	copy(f.uuid[:], p[0x68:])
	if unknown := incompat &^ knownIncompat; unknown != 0 {
		return nil, fmt.Errorf("%w: features %#x are not supported", ErrFormat, unknown)
	}
	if le.Uint32(p[0x4C:]) > 0 {
		f.inodeSize = int64(le.Uint16(p[0x58:]))
	}
	if incompat&incompat64bit != 0 {
		f.descSize = int64(le.Uint16(p[0xFE:]))
		f.blocks |= uint64(le.Uint32(p[0x150:])) << 32
	}
	if log > 6 || f.inodesPerGroup == 0 || f.inodeSize < 128 || f.inodeSize > 1024<<log || f.descSize < 32 || f.descSize > 1024 || f.blocks > 1<<48 {
		return nil, fmt.Errorf("%w: impossible sizes in the superblock", ErrFormat)
	}
	f.blockSize = 1024 << log
	return f, nil
}

// UUID names the file system.
func (f *Reader) UUID() [16]byte { return f.uuid }

// NeedsRecovery tells that its journal has to be replayed first for all to be seen.
func (f *Reader) NeedsRecovery() bool { return f.needsRecovery }

func (f *Reader) inode(number uint32) (*Inode, error) {
	if number == 0 || number > f.inodes {
		return nil, fmt.Errorf("%w: inode %d", ErrFormat, number)
	}
	group, index := int64((number-1)/f.inodesPerGroup), int64((number-1)%f.inodesPerGroup)
	var desc [64]byte
	descs := int64(f.firstData+1) * f.blockSize
	if _, err := f.r.ReadAt(desc[:min(f.descSize, 64)], descs+group*f.descSize); err != nil {
		return nil, fmt.Errorf("read group %d: %w", group, err)
	}
	table := uint64(le.Uint32(desc[8:])) | uint64(le.Uint32(desc[0x28:]))<<32
	if table >= f.blocks {
		return nil, fmt.Errorf("%w: inode table of group %d", ErrFormat, group)
	}
	p := make([]byte, f.inodeSize)
	if _, err := f.r.ReadAt(p, int64(table)*f.blockSize+index*f.inodeSize); err != nil {
		return nil, fmt.Errorf("read inode %d: %w", number, err)
	}
	mode := le.Uint16(p)
	i := &Inode{
		Number: number, Links: uint32(le.Uint16(p[0x1A:])), flags: le.Uint32(p[0x20:]),
		Size: int64(le.Uint32(p[0x04:])) | int64(le.Uint32(p[0x6C:]))<<32,
		Attr: Attr{
			Type: Type(mode & typeMask), Perm: mode &^ typeMask, ModTime: decodeTime(p),
			UID: uint32(le.Uint16(p[0x02:])) | uint32(le.Uint16(p[0x78:]))<<16,
			GID: uint32(le.Uint16(p[0x18:])) | uint32(le.Uint16(p[0x7A:]))<<16,
		},
	}
	copy(i.block[:], p[0x28:])
	if i.Size < 0 || (i.Size+f.blockSize-1)/f.blockSize > 1<<32 {
		return nil, fmt.Errorf("%w: inode %d has %d bytes", ErrFormat, number, i.Size)
	}
	return i, f.complete(i)
}

// decodeTime is the time of the last change of contents.
func decodeTime(inode []byte) time.Time {
	seconds := int64(int32(le.Uint32(inode[0x10:])))
	if len(inode) < 0x8C || le.Uint16(inode[0x80:]) < 12 {
		return time.Unix(seconds, 0)
	}
	extra := le.Uint32(inode[0x88:])
	return time.Unix(seconds+int64(extra&3)<<32, int64(extra>>2))
}

// complete fills in a link's target or a device's number.
func (f *Reader) complete(i *Inode) error {
	switch i.Type {
	case TypeSymlink:
		if i.Size > BlockSize {
			return fmt.Errorf("%w: link of %d bytes", ErrFormat, i.Size)
		}
		target := i.block[:min(i.Size, 60)]
		if i.Size >= fastSymlink {
			target = make([]byte, i.Size)
			if _, err := f.File(i).ReadAt(target, 0); err != nil {
				return err
			}
		}
		i.Target = string(target)
	case TypeChar, TypeBlock:
		if old := le.Uint32(i.block[:]); old != 0 {
			i.Major, i.Minor = old>>8&0xff, old&0xff
		} else {
			dev := le.Uint32(i.block[4:])
			i.Major, i.Minor = dev>>8&0xfff, dev&0xff|dev>>12&^0xff
		}
	}
	return nil
}

// Lookup finds a file by its path; symbolic links are followed, and lead nowhere but into
// the file system. The error of a file that is not there is fs.ErrNotExist.
func (f *Reader) Lookup(path string) (*Inode, error) {
	at, err := f.inode(inoRoot)
	if err != nil {
		return nil, err
	}
	parents := []*Inode{}
	parts := targetParts(path)
	for hops := 0; len(parts) > 0; {
		part := parts[0]
		parts = parts[1:]
		if part == ".." {
			if len(parents) > 0 {
				at, parents = parents[len(parents)-1], parents[:len(parents)-1]
			}
			continue
		}
		next, err := f.Entry(at, part)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if next.Type != TypeSymlink {
			parents, at = append(parents, at), next
			continue
		}
		if hops++; hops > maxSymlinks {
			return nil, fmt.Errorf("%s: %w: too many symbolic links", path, ErrFormat)
		}
		if strings.HasPrefix(next.Target, "/") && len(parents) > 0 {
			at, parents = parents[0], nil
		}
		parts = append(targetParts(next.Target), parts...)
	}
	return at, nil
}

// Entry finds a name in a folder; a symbolic link is found and not followed. The error of
// a name that is not there is fs.ErrNotExist.
func (f *Reader) Entry(dir *Inode, name string) (*Inode, error) {
	var found uint32
	err := f.entries(dir, func(entry string, number uint32) bool {
		if entry == name {
			found = number
		}
		return found == 0
	})
	if err != nil {
		return nil, err
	}
	if found == 0 {
		return nil, fs.ErrNotExist
	}
	return f.inode(found)
}

// Names lists a folder, in the order of the disk, without "." and "..".
func (f *Reader) Names(dir *Inode) ([]string, error) {
	var names []string
	err := f.entries(dir, func(name string, _ uint32) bool {
		if name != "." && name != ".." {
			names = append(names, name)
		}
		return true
	})
	return names, err
}

// maxDirSize bounds the folders that are searched, in bytes.
const maxDirSize = 64 << 20

// entries calls do for each entry of a folder until it returns false.
func (f *Reader) entries(dir *Inode, do func(name string, number uint32) bool) error {
	if dir.Type != TypeDir {
		return fmt.Errorf("%w: inode %d", errNotDir, dir.Number)
	}
	if dir.Size > maxDirSize {
		return fmt.Errorf("%w: folder of %d bytes", ErrFormat, dir.Size)
	}
	file := f.File(dir)
	block := make([]byte, f.blockSize)
	for at := int64(0); at < dir.Size; at += f.blockSize {
		if _, err := file.ReadAt(block, at); err != nil {
			return err
		}
		for p := block; len(p) >= direntHeader; {
			size, name := int(le.Uint16(p[4:])), int(p[6])
			if f.blockSize == 64<<10 && (size == 0 || size == 0xffff) {
				size = 64 << 10
			}
			if size < direntHeader || size > len(p) || direntHeader+name > size {
				return fmt.Errorf("%w: directory of inode %d", ErrFormat, dir.Number)
			}
			if number := le.Uint32(p); number != 0 && !do(string(p[direntHeader:direntHeader+name]), number) {
				return nil
			}
			p = p[size:]
		}
	}
	return nil
}

var errNotDir = errors.New("not a folder")
