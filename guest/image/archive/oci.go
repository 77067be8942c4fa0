package archive

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"runtime"
	"strings"

	"github.com/gureum/gureum/guest/image/ext4"
)

// Limits on the documents of a container image. Layers are bounded by the file system.
const (
	maxDocument = 4 << 20 // bytes, as registries have it
	maxLayers   = 1000
	maxNesting  = 4 // indexes in indexes
)

// Config is what a container image says of the process that it is for.
type Config struct {
	Entrypoint []string
	Cmd        []string
	Env        []string
	WorkingDir string
	User       string
}

// Container is an image found in an OCI layout or in what "docker save" wrote. Its
// layers are read when it is unpacked.
type Container struct {
	Config Config
	Digest string // names its content: that of the config
	layers []layer
}

type layer struct {
	path   string // in the tree
	digest string // of the file, as it is stored; "" for one not known
	diffID string // of the tar in it
}

// descriptor is the OCI content descriptor.
type descriptor struct {
	MediaType string            `json:"mediaType"`
	Digest    string            `json:"digest"`
	Size      int64             `json:"size"`
	Platform  *platform         `json:"platform"`
	Notes     map[string]string `json:"annotations"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// document is an OCI index or manifest, and a Docker manifest list or manifest.
type document struct {
	MediaType string       `json:"mediaType"`
	Manifests []descriptor `json:"manifests"`
	Config    descriptor   `json:"config"`
	Layers    []descriptor `json:"layers"`
}

// imageConfig is the OCI image configuration, which is Docker's too.
type imageConfig struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Config       Config `json:"config"`
	RootFS       struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// savedImage is an entry of the manifest.json that "docker save" writes.
type savedImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// OpenContainer finds the container image in a tree of files: an OCI layout (oci-layout,
// index.json, blobs) or what "docker save" has (manifest.json). With several images in
// it, ref chooses by name; one is for this machine's architecture. Every blob that has a
// digest is checked against it when it is read.
func OpenContainer(tree fs.FS, ref string) (*Container, error) {
	if _, err := fs.Stat(tree, "oci-layout"); err == nil {
		return openLayout(tree, ref)
	}
	if _, err := fs.Stat(tree, "manifest.json"); err == nil {
		return openSaved(tree, ref)
	}
	return nil, fmt.Errorf("%w: neither an OCI layout nor a docker save archive", ErrFormat)
}

func openLayout(tree fs.FS, ref string) (*Container, error) {
	var index document
	if err := readJSON(tree, "index.json", "", &index); err != nil {
		return nil, err
	}
	for range maxNesting {
		d, err := choose(index.Manifests, ref)
		if err != nil {
			return nil, err
		}
		path, err := blobPath(d.Digest)
		if err != nil {
			return nil, err
		}
		index = document{}
		if err := readJSON(tree, path, d.Digest, &index); err != nil {
			return nil, err
		}
		if len(index.Manifests) == 0 {
			return openManifest(tree, &index)
		}
		ref = "" // it chose among the outermost
	}
	return nil, fmt.Errorf("%w: more than %d indexes in each other", ErrFormat, maxNesting)
}

// refName is the annotation that names an image in an index (image-spec, annotations.md).
const refName = "org.opencontainers.image.ref.name"

// choose takes the manifest with a name, or else the one for this machine.
func choose(list []descriptor, ref string) (descriptor, error) {
	var fit []descriptor
	for _, d := range list {
		if ref != "" && d.Notes[refName] != ref && d.Notes["io.containerd.image.name"] != ref {
			continue
		}
		if p := d.Platform; p != nil && (p.OS != "linux" || p.Architecture != runtime.GOARCH) {
			continue
		}
		fit = append(fit, d)
	}
	if len(fit) == 1 {
		return fit[0], nil
	}
	var names []string
	for _, d := range list {
		if name := d.Notes[refName]; name != "" {
			names = append(names, name)
		}
	}
	if len(fit) == 0 {
		return descriptor{}, fmt.Errorf("%w: no image %s for linux/%s in it (names: %s)", ErrFormat, ref, runtime.GOARCH, strings.Join(names, ", "))
	}
	return descriptor{}, fmt.Errorf("%w: %d images in it: choose one of %s", ErrFormat, len(fit), strings.Join(names, ", "))
}

func openManifest(tree fs.FS, m *document) (*Container, error) {
	path, err := blobPath(m.Config.Digest)
	if err != nil {
		return nil, err
	}
	c := &Container{Digest: m.Config.Digest}
	diffIDs, err := c.readConfig(tree, path, m.Config.Digest)
	if err != nil {
		return nil, err
	}
	if len(m.Layers) != len(diffIDs) || len(m.Layers) > maxLayers {
		return nil, fmt.Errorf("%w: %d layers with %d diff ids", ErrFormat, len(m.Layers), len(diffIDs))
	}
	for i, d := range m.Layers {
		path, err := blobPath(d.Digest)
		if err != nil {
			return nil, err
		}
		c.layers = append(c.layers, layer{path: path, digest: d.Digest, diffID: diffIDs[i]})
	}
	return c, nil
}

func openSaved(tree fs.FS, ref string) (*Container, error) {
	var list []savedImage
	if err := readJSON(tree, "manifest.json", "", &list); err != nil {
		return nil, err
	}
	var fit []savedImage
	var names []string
	for _, s := range list {
		names = append(names, s.RepoTags...)
		if ref == "" || contains(s.RepoTags, ref) {
			fit = append(fit, s)
		}
	}
	if len(fit) != 1 {
		return nil, fmt.Errorf("%w: %d images in it: choose one of %s", ErrFormat, len(fit), strings.Join(names, ", "))
	}
	s := fit[0]
	c := &Container{}
	// Its name has the digest in it, as blobs/sha256/HEX or HEX.json.
	hexDigest := strings.TrimSuffix(s.Config[strings.LastIndexByte(s.Config, '/')+1:], ".json")
	c.Digest = "sha256:" + hexDigest
	diffIDs, err := c.readConfig(tree, s.Config, c.Digest)
	if err != nil {
		return nil, err
	}
	if len(s.Layers) != len(diffIDs) || len(s.Layers) > maxLayers {
		return nil, fmt.Errorf("%w: %d layers with %d diff ids", ErrFormat, len(s.Layers), len(diffIDs))
	}
	for i, path := range s.Layers {
		c.layers = append(c.layers, layer{path: path, diffID: diffIDs[i]})
	}
	return c, nil
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

func (c *Container) readConfig(tree fs.FS, path, digest string) (diffIDs []string, err error) {
	var config imageConfig
	if err := readJSON(tree, path, digest, &config); err != nil {
		return nil, err
	}
	if config.OS != "linux" || config.Architecture != runtime.GOARCH {
		return nil, fmt.Errorf("%w: the image is for %s/%s, not linux/%s", ErrFormat, config.OS, config.Architecture, runtime.GOARCH)
	}
	c.Config = config.Config
	return config.RootFS.DiffIDs, nil
}

// Unpack pours the layers into w, the lowest first.
func (c *Container) Unpack(w *ext4.Writer, tree fs.FS) error {
	for i, l := range c.layers {
		if err := c.unpackLayer(w, tree, l); err != nil {
			return fmt.Errorf("layer %d of %d: %w", i+1, len(c.layers), err)
		}
	}
	return nil
}

func (c *Container) unpackLayer(w *ext4.Writer, tree fs.FS, l layer) error {
	f, err := open(tree, l.path)
	if err != nil {
		return err
	}
	defer f.Close()
	var stored io.Reader = f
	var storedSum *digester
	if l.digest != "" {
		if storedSum, err = newDigester(f, l.digest); err != nil {
			return err
		}
		stored = storedSum
	}
	plain, closePlain, err := Decompress(stored)
	if err != nil {
		return err
	}
	defer closePlain()
	sum, err := newDigester(plain, l.diffID)
	if err != nil {
		return err
	}
	if err := Unpack(w, sum, true); err != nil {
		return err
	}
	// What follows the end of the tar counts for the digest. It is bounded, as it is
	// nowhere else.
	if err := sum.finish(w.Free()); err != nil {
		return err
	}
	if storedSum != nil {
		return storedSum.finish(maxTrailer)
	}
	return nil
}

// maxTrailer is how much may follow a compressed stream, in bytes.
const maxTrailer = 1 << 20

// readJSON reads a document, with its digest if it has one.
func readJSON(tree fs.FS, path, digest string, v any) error {
	f, err := open(tree, path)
	if err != nil {
		return err
	}
	defer f.Close()
	p, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err != nil {
		return err
	}
	if len(p) > maxDocument {
		return fmt.Errorf("%w: %s has more than %d bytes", ErrFormat, path, maxDocument)
	}
	if digest != "" {
		d, err := newDigester(strings.NewReader(string(p)), digest)
		if err != nil {
			return err
		}
		if err := d.finish(maxDocument); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if err := json.Unmarshal(p, v); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrFormat, path, err)
	}
	return nil
}

func open(tree fs.FS, path string) (fs.File, error) {
	if !fs.ValidPath(path) {
		return nil, fmt.Errorf("%w: file %q", ErrFormat, path)
	}
	f, err := tree.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: it lacks %s", ErrFormat, path)
	}
	return f, err
}

// blobPath is where an OCI layout has a blob.
func blobPath(digest string) (string, error) {
	algorithm, _, err := parseDigest(digest)
	if err != nil {
		return "", err
	}
	return "blobs/" + algorithm + "/" + strings.TrimPrefix(digest, algorithm+":"), nil
}

func parseDigest(digest string) (algorithm string, sum []byte, err error) {
	algorithm, encoded, _ := strings.Cut(digest, ":")
	sum, err = hex.DecodeString(encoded)
	size := map[string]int{"sha256": sha256.Size, "sha512": sha512.Size}[algorithm]
	if err != nil || size == 0 || len(sum) != size || encoded != strings.ToLower(encoded) {
		return "", nil, fmt.Errorf("%w: digest %.100q", ErrFormat, digest)
	}
	return algorithm, sum, nil
}

// digester sums what is read through it.
type digester struct {
	r    io.Reader
	hash hash.Hash
	want string
	sum  []byte
}

func newDigester(r io.Reader, digest string) (*digester, error) {
	algorithm, sum, err := parseDigest(digest)
	if err != nil {
		return nil, err
	}
	d := &digester{r: r, hash: sha256.New(), want: digest, sum: sum}
	if algorithm == "sha512" {
		d.hash = sha512.New()
	}
	return d, nil
}

func (d *digester) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	d.hash.Write(p[:n])
	return n, err
}

// finish reads on to the end, at most limit bytes, and compares.
func (d *digester) finish(limit int64) error {
	n, err := io.Copy(io.Discard, io.LimitReader(d, limit+1))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if n > limit {
		return fmt.Errorf("%w: %d bytes and more behind the end", ErrFormat, limit)
	}
	if string(d.hash.Sum(nil)) != string(d.sum) {
		return fmt.Errorf("%w: its digest is not %s", ErrFormat, d.want)
	}
	return nil
}
