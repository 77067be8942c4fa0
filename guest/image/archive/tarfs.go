package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// tarTree is a tar that is read as a tree of files. Only plain files are in it, and links
// between them, as "docker save" has for layers that are the same.
type tarTree struct {
	r     io.ReaderAt
	files map[string]section
}

type section struct{ off, size int64 }

// maxTarFiles bounds the files of a container image's archive.
const maxTarFiles = 100_000

// OpenTar reads the directory of a tar that is not compressed.
func OpenTar(r io.ReaderAt, size int64) (fs.FS, error) {
	in := io.NewSectionReader(r, 0, size)
	t := tar.NewReader(in)
	tree := &tarTree{r: r, files: map[string]section{}}
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return tree, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrFormat, err)
		}
		if len(tree.files) >= maxTarFiles {
			return nil, fmt.Errorf("%w: more than %d files", ErrFormat, maxTarFiles)
		}
		name := path.Clean(strings.TrimPrefix(h.Name, "/"))
		switch h.Typeflag {
		case tar.TypeReg:
			at, err := in.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			if h.Size > size-at {
				return nil, fmt.Errorf("%w: %q is cut short", ErrFormat, h.Name)
			}
			tree.files[name] = section{at, h.Size}
		case tar.TypeSymlink, tar.TypeLink:
			target := h.Linkname
			if h.Typeflag == tar.TypeSymlink {
				target = path.Join(path.Dir(name), target)
			}
			if s, ok := tree.files[path.Clean(target)]; ok {
				tree.files[name] = s
			}
		}
	}
}

// Open is fs.FS.
func (t *tarTree) Open(name string) (fs.File, error) {
	s, ok := t.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &tarFile{io.NewSectionReader(t.r, s.off, s.size)}, nil
}

// Stat is fs.StatFS: whether a file is there is all that is asked of it.
func (t *tarTree) Stat(name string) (fs.FileInfo, error) {
	_, err := t.Open(name)
	return nil, err
}

type tarFile struct{ *io.SectionReader }

func (*tarFile) Close() error               { return nil }
func (*tarFile) Stat() (fs.FileInfo, error) { return nil, errors.ErrUnsupported }
