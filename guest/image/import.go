package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gureum/gureum/guest/disk"
	"github.com/gureum/gureum/guest/image/archive"
	"github.com/gureum/gureum/guest/image/ext4"
)

// DefaultSize is the size of the file systems that are made, in bytes. They take room on
// the host only for what is in them.
const DefaultSize = 8 << 30

// Kind is what Import takes.
type Kind string

// The kinds of sources.
const (
	Auto   Kind = ""       // by the content
	RootFS Kind = "rootfs" // a tar of a root file system
	OCI    Kind = "oci"    // an OCI layout, as a folder or as a tar, or what "docker save" wrote
	Disk   Kind = "disk"   // a raw or a qcow2 disk
)

// ImportOptions say how to import. Name must be given.
type ImportOptions struct {
	Name     string
	Kind     Kind
	Ref      string           // which image of several in an OCI layout or docker archive
	Format   disk.Format      // of the disk that is made; "" for raw. A disk keeps its own.
	Size     int64            // of the file system, in bytes; 0 for DefaultSize
	Time     time.Time        // of its making; zero for now
	Progress func(msg string) // is told of each step; nil for nobody
}

func (o *ImportOptions) complete() error {
	if err := CheckName(o.Name); err != nil {
		return err
	}
	if o.Format == "" {
		o.Format = disk.Raw
	}
	if o.Format != disk.Raw && o.Format != disk.Qcow2 {
		return fmt.Errorf("format %q: give raw or qcow2", o.Format)
	}
	if o.Size == 0 {
		o.Size = DefaultSize
	}
	if o.Size < ext4.MinSize || o.Size > ext4.MaxSize {
		return fmt.Errorf("size %d: give from %d MiB to %d TiB", o.Size, ext4.MinSize>>20, ext4.MaxSize>>40)
	}
	if o.Time.IsZero() {
		o.Time = time.Now()
	}
	o.Time = o.Time.UTC().Truncate(time.Second)
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return nil
}

// Import makes an image of what lies at path; "-" reads a tar from stdin. The name comes
// to stand for the new image when it is complete, and not before.
func (s *Store) Import(ctx context.Context, path string, stdin io.Reader, o ImportOptions) (Image, error) {
	if err := o.complete(); err != nil {
		return Image{}, err
	}
	img, err := s.importPath(ctx, path, stdin, &o)
	if err != nil {
		return Image{}, fmt.Errorf("import %s: %w", path, err)
	}
	return img, nil
}

func (s *Store) importPath(ctx context.Context, path string, stdin io.Reader, o *ImportOptions) (Image, error) {
	if path == "-" {
		return s.importStream(ctx, stdin, path, o)
	}
	st, err := os.Stat(path)
	if err != nil {
		return Image{}, err
	}
	if st.IsDir() {
		root, err := os.OpenRoot(path) // links in it lead nowhere else
		if err != nil {
			return Image{}, err
		}
		defer root.Close()
		return s.importContainer(ctx, root.FS(), path, o)
	}
	f, err := os.Open(path)
	if err != nil {
		return Image{}, err
	}
	defer f.Close()
	kind := o.Kind
	if kind == Auto && looksLikeDisk(f) {
		kind = Disk
	}
	if kind == Disk {
		return s.importDisk(ctx, path, o)
	}
	return s.importStream(ctx, f, path, o)
}

// looksLikeDisk tells a disk from an archive.
func looksLikeDisk(f *os.File) bool {
	head := make([]byte, 4096)
	n, _ := f.ReadAt(head, 0)
	head = head[:n]
	at := func(off int, magic string) bool {
		return len(head) >= off+len(magic) && string(head[off:off+len(magic)]) == magic
	}
	return at(0, "QFI\xfb") || at(512, "EFI PART") || at(510, "\x55\xaa") && !at(257, "ustar") || at(1024+56, "\x53\xef")
}

// importStream imports a tar: a root file system, or the tar of a container image. Only
// the latter must be read more than once, so it goes into a file first.
func (s *Store) importStream(ctx context.Context, r io.Reader, source string, o *ImportOptions) (Image, error) {
	plain, closePlain, err := archive.Decompress(&contextReader{ctx, r})
	if err != nil {
		return Image{}, err
	}
	defer closePlain()
	head := make([]byte, 512)
	n, err := io.ReadFull(plain, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return Image{}, fmt.Errorf("%w: %w", archive.ErrFormat, err)
	}
	if n < 512 {
		return Image{}, fmt.Errorf("%w: %d bytes are no tar", archive.ErrFormat, n)
	}
	plain = io.MultiReader(bytes.NewReader(head), plain)
	if o.Kind == RootFS || o.Kind == Auto && !containerHead(head) {
		return s.importRootFS(plain, source, o)
	}
	if o.Kind == Disk {
		return Image{}, errors.New("a disk must be a file that is not compressed")
	}
	spool, err := s.spool(plain)
	if err != nil {
		return Image{}, err
	}
	defer spool.Close()
	st, err := spool.Stat()
	if err != nil {
		return Image{}, err
	}
	tree, err := archive.OpenTar(spool, st.Size())
	if err != nil {
		return Image{}, err
	}
	return s.importContainer(ctx, tree, source, o)
}

// spool copies a stream to a file that has no name any more.
func (s *Store) spool(r io.Reader) (*os.File, error) {
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(s.drafts(), "spool-")
	if err == nil {
		err = os.Remove(f.Name())
	}
	unlock()
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(f, r); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// containerHead tells the tar of a container image by the name of its first file.
func containerHead(head []byte) bool {
	name, _, _ := bytes.Cut(head[:100], []byte{0})
	first, _, _ := bytes.Cut(bytes.TrimPrefix(name, []byte("./")), []byte("/"))
	switch string(first) {
	case "blobs", "oci-layout", "index.json", "manifest.json", "repositories":
		return true
	}
	// What older versions of docker save have first: HEX/ or HEX.json.
	id := bytes.TrimSuffix(first, []byte(".json"))
	_, err := hex.DecodeString(string(id))
	return len(id) == 2*sha256.Size && err == nil
}

// contextReader ends a copy when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// hashReader sums what is read.
type hashReader struct {
	r    io.Reader
	hash hash.Hash
}

func (h *hashReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.hash.Write(p[:n])
	return n, err
}

func (s *Store) importRootFS(r io.Reader, source string, o *ImportOptions) (Image, error) {
	m := &Manifest{Source: "tar " + filepath.Base(source)}
	return s.makeRoot(o, m, func(w *ext4.Writer) (string, error) {
		o.Progress("unpacking " + source)
		h := &hashReader{r, sha256.New()}
		if err := archive.Unpack(w, h, false); err != nil {
			return "", err
		}
		return hex.EncodeToString(h.hash.Sum(nil)), nil
	})
}

func (s *Store) importContainer(ctx context.Context, tree fs.FS, source string, o *ImportOptions) (Image, error) {
	c, err := archive.OpenContainer(tree, o.Ref)
	if err != nil {
		return Image{}, err
	}
	m := &Manifest{Source: "container " + filepath.Base(source), Process: &Process{
		Entrypoint: c.Config.Entrypoint, Cmd: c.Config.Cmd, Env: c.Config.Env, Dir: c.Config.WorkingDir, User: c.Config.User,
	}}
	return s.makeRoot(o, m, func(w *ext4.Writer) (string, error) {
		o.Progress("unpacking the layers of " + source)
		return c.Digest, c.Unpack(w, &contextFS{ctx, tree})
	})
}

// contextFS ends the reading of files when its context ends.
type contextFS struct {
	ctx context.Context
	fs.FS
}

func (c *contextFS) Open(name string) (fs.File, error) {
	f, err := c.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return &contextFile{f, contextReader{c.ctx, f}}, nil
}

type contextFile struct {
	fs.File
	r contextReader
}

func (c *contextFile) Read(p []byte) (int, error) { return c.r.Read(p) }
