package ext4

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
)

// Attr is what a file has besides its name and its contents.
type Attr struct {
	Type     Type
	Perm     uint16 // permission bits with set-user-ID, set-group-ID and sticky: 07777
	UID, GID uint32
	ModTime  time.Time
	Target   string            // of a symbolic link
	Major    uint32            // of a device
	Minor    uint32            // of a device
	Xattrs   map[string]string // by full name, such as security.capability
}

// Limits that keep a hostile archive from using up the host.
const (
	maxPath     = 4096 // bytes of a name with its folders: PATH_MAX of Linux
	maxDepth    = 1024 // folders in folders
	maxNames    = 8    // names for each inode that there is
	maxSymlinks = 40   // links followed on the way to one name, as in Linux
)

// ErrPath is the error of a name that no file can have.
var ErrPath = errors.New("bad name")

// node is an inode to be. Several names may lead to it.
type node struct {
	Attr
	parent   *node // of a directory
	depth    int
	children map[string]*node
	links    int
	size     int64
	extents  []extent
	layer    int // in which it was last put

	ino       uint32
	xattrPos  uint64   // block of its attributes, 0 for none
	mapBlocks []uint64 // blocks of its extent tree
}

func newDir(parent *node, a Attr, layer int) *node {
	a.Type = TypeDir
	n := &node{Attr: a, parent: parent, children: map[string]*node{}, links: 2, layer: layer}
	if parent != nil {
		n.depth = parent.depth + 1
	}
	return n
}

// cleanPath splits a name into its parts. A leading slash means the root of the image;
// ".." is refused, as nothing that is well made has it.
func cleanPath(name string) ([]string, error) {
	if len(name) > maxPath {
		return nil, fmt.Errorf("%w: %.40q...: more than %d bytes", ErrPath, name, maxPath)
	}
	if strings.IndexByte(name, 0) >= 0 {
		return nil, fmt.Errorf("%w: %q: it holds a NUL", ErrPath, name)
	}
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "" || part == ".":
		case part == "..":
			return nil, fmt.Errorf("%w: %q: it leads upwards", ErrPath, name)
		case len(part) > maxNameLen:
			return nil, fmt.Errorf("%w: %.40q...: a part has more than %d bytes", ErrPath, name, maxNameLen)
		default:
			parts = append(parts, part)
		}
	}
	return parts, nil
}

// walk follows parts from the root, symbolic links among them included, as chroot(2)
// would have it: no link leads out. With create, folders that are missing are made, and a
// file in the way gives ErrPath. It gives nil if there is no such folder.
func (w *Writer) walk(parts []string, create bool) (*node, error) {
	at := w.root
	hops := 0
	for len(parts) > 0 {
		part := parts[0]
		parts = parts[1:]
		if part == ".." {
			if at.parent != nil {
				at = at.parent
			}
			continue
		}
		next, ok := at.children[part]
		if !ok {
			if !create {
				return nil, nil
			}
			var err error
			if next, err = w.mkdir(at, part); err != nil {
				return nil, err
			}
		}
		switch next.Type {
		case TypeDir:
			at = next
		case TypeSymlink:
			if hops++; hops > maxSymlinks {
				return nil, fmt.Errorf("%w: %q: too many symbolic links", ErrPath, part)
			}
			target := targetParts(next.Target)
			if len(target)+len(parts) > maxPath {
				return nil, fmt.Errorf("%w: %q: symbolic links make it too long", ErrPath, part)
			}
			parts = append(target, parts...)
			if strings.HasPrefix(next.Target, "/") {
				at = w.root
			}
		default:
			return nil, fmt.Errorf("%w: %q is a file, not a folder", ErrPath, part)
		}
	}
	return at, nil
}

func targetParts(target string) []string {
	var parts []string
	for part := range strings.SplitSeq(target, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return parts
}

// mkdir makes a folder that the archive did not name.
func (w *Writer) mkdir(in *node, name string) (*node, error) {
	n := newDir(in, Attr{Perm: 0o755, ModTime: w.config.Time}, w.layer)
	if err := w.enter(in, name, n); err != nil {
		return nil, err
	}
	return n, w.count()
}

// enter gives a node a name, in place of what had it.
func (w *Writer) enter(in *node, name string, n *node) error {
	if len(name) > maxNameLen {
		return fmt.Errorf("%w: %.40q...: more than %d bytes", ErrPath, name, maxNameLen)
	}
	if n.Type == TypeDir && n.depth > maxDepth {
		return fmt.Errorf("%w: %q: more than %d folders deep", ErrPath, name, maxDepth)
	}
	if w.names >= w.geo.inodes()*maxNames {
		return fmt.Errorf("%w: %q: too many names", ErrNoSpace, name)
	}
	if old, ok := in.children[name]; ok {
		w.drop(in, name, old)
	}
	in.children[name] = n
	if n.Type == TypeDir {
		in.links++
	}
	w.names++
	return nil
}

// count counts an inode in, if one is left.
func (w *Writer) count() error {
	if w.inodes+firstIno >= w.geo.inodes() {
		return fmt.Errorf("%w: no inode is left", ErrNoSpace)
	}
	w.inodes++
	return nil
}

// drop takes a name away, and all that is below it.
func (w *Writer) drop(in *node, name string, n *node) {
	delete(in.children, name)
	w.names--
	if n.Type == TypeDir {
		for child, c := range n.children {
			w.drop(n, child, c)
		}
		in.links--
		w.inodes--
		return
	}
	if n.links--; n.links == 0 {
		w.inodes--
		w.alloc.free(n.extents)
		n.extents = nil
	}
}

// locate finds the folder of a name and the name's last part, "" for the root.
func (w *Writer) locate(name string, create bool) (*node, string, error) {
	parts, err := cleanPath(name)
	if err != nil {
		return nil, "", err
	}
	if len(parts) == 0 {
		return w.root, "", nil
	}
	last := parts[len(parts)-1]
	dir, err := w.walk(parts[:len(parts)-1:len(parts)-1], create)
	return dir, last, err
}

// Layer says that what follows is a layer on top of what there is: Remove and Clear take
// away only what layers before it brought.
func (w *Writer) Layer() { w.layer++ }

// Remove takes away a file or a folder of a layer below, if there is one.
func (w *Writer) Remove(name string) error {
	dir, last, err := w.locate(name, false)
	if err != nil || dir == nil || last == "" {
		return err
	}
	if n, ok := dir.children[last]; ok {
		w.prune(dir, last, n)
	}
	return nil
}

// Clear empties a folder of what layers below have in it.
func (w *Writer) Clear(name string) error {
	parts, err := cleanPath(name)
	if err != nil {
		return err
	}
	dir, err := w.walk(parts, false)
	if err != nil || dir == nil {
		return err
	}
	for child, c := range dir.children {
		w.prune(dir, child, c)
	}
	return nil
}

// prune drops what is of a layer below; folders stay while something of this layer is in them.
func (w *Writer) prune(in *node, name string, n *node) {
	for child, c := range n.children {
		w.prune(n, child, c)
	}
	if n.layer < w.layer && len(n.children) == 0 {
		w.drop(in, name, n)
	}
}

// checkAttr refuses what the format cannot hold.
func checkAttr(name string, a *Attr) error {
	switch a.Type {
	case TypeDir, TypeRegular, TypeChar, TypeBlock, TypeFIFO, TypeSocket:
	case TypeSymlink:
		if a.Target == "" || len(a.Target) >= BlockSize || strings.IndexByte(a.Target, 0) >= 0 {
			return fmt.Errorf("%w: %q: a symbolic link to %.40q", ErrPath, name, a.Target)
		}
	default:
		return fmt.Errorf("%q: unknown type of file %#x", name, a.Type)
	}
	if a.Major >= 1<<12 || a.Minor >= 1<<20 {
		return fmt.Errorf("%q: device %d:%d: Linux has no such numbers", name, a.Major, a.Minor)
	}
	if _, err := encodeXattrs(a.Xattrs); err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	a.Perm &= 0o7777
	a.Xattrs = maps.Clone(a.Xattrs)
	return nil
}
