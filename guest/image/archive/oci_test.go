package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"

	"github.com/gureum/gureum/guest/image/ext4"
)

func digest(p []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(p)) }

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	p, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func zipped(t testing.TB, p []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(p)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstded(t testing.TB, p []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(p, nil)
}

type object = map[string]any

// layout is an OCI layout that is being made.
type layout struct {
	t    testing.TB
	tree fstest.MapFS
}

func newLayout(t testing.TB) *layout {
	return &layout{t, fstest.MapFS{"oci-layout": {Data: []byte(`{"imageLayoutVersion":"1.0.0"}`)}}}
}

func (l *layout) blob(p []byte) object {
	l.tree["blobs/sha256/"+strings.TrimPrefix(digest(p), "sha256:")] = &fstest.MapFile{Data: p}
	return object{"digest": digest(p), "size": len(p)}
}

func (l *layout) config(arch string, layers ...[]byte) []byte {
	ids := []string{}
	for _, p := range layers {
		ids = append(ids, digest(p))
	}
	return marshal(l.t, object{
		"os": "linux", "architecture": arch, "rootfs": object{"diff_ids": ids},
		"config": object{"Entrypoint": []string{"/bin/app"}, "Cmd": []string{"-x"}, "Env": []string{"A=b"}, "WorkingDir": "/srv"},
	})
}

// image adds an image of two layers, one compressed each way.
func (l *layout) image(arch string) object {
	lower := makeTar(l.t, entry{name: "a", content: "1"}, entry{name: "b", content: "1"})
	upper := makeTar(l.t, entry{name: ".wh.b"}, entry{name: "c", content: arch})
	manifest := marshal(l.t, object{
		"config": l.blob(l.config(arch, lower, upper)),
		"layers": []object{l.blob(zipped(l.t, lower)), l.blob(zstded(l.t, upper))},
	})
	d := l.blob(manifest)
	d["platform"] = object{"os": "linux", "architecture": arch}
	return d
}

func (l *layout) index(manifests ...object) {
	l.tree["index.json"] = &fstest.MapFile{Data: marshal(l.t, object{"manifests": manifests})}
}

func unpackContainer(t testing.TB, tree fs.FS, ref string) ([]string, *Container, error) {
	t.Helper()
	c, err := OpenContainer(tree, ref)
	if err != nil {
		return nil, nil, err
	}
	w, m := newWriter(t)
	if err := c.Unpack(w, tree); err != nil {
		return nil, nil, err
	}
	return list(t, w, m, false), c, nil
}

// other is an architecture that this machine has not.
func other() string {
	if runtime.GOARCH == "arm64" {
		return "amd64"
	}
	return "arm64"
}

func TestLayout(t *testing.T) {
	l := newLayout(t)
	inner := marshal(t, object{"manifests": []object{l.image(other()), l.image(runtime.GOARCH)}})
	l.index(l.blob(inner))
	names, c, err := unpackContainer(t, l.tree, "")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a = 1", "c = " + runtime.GOARCH}; !slices.Equal(names, want) {
		t.Errorf("%q", names)
	}
	if c.Config.Entrypoint[0] != "/bin/app" || c.Config.WorkingDir != "/srv" {
		t.Errorf("%+v", c.Config)
	}
	// The same as a tar.
	p := tarOf(t, l.tree)
	tree, err := OpenTar(bytes.NewReader(p), int64(len(p)))
	if err != nil {
		t.Fatal(err)
	}
	if again, _, err := unpackContainer(t, tree, ""); err != nil || !slices.Equal(again, names) {
		t.Errorf("%q, %v", again, err)
	}
}

func TestChoiceByName(t *testing.T) {
	l := newLayout(t)
	one, two := l.image(runtime.GOARCH), l.image(runtime.GOARCH)
	one["annotations"], two["annotations"] = object{refName: "one"}, object{refName: "two"}
	l.index(one, two)
	if _, _, err := unpackContainer(t, l.tree, ""); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "one, two") {
		t.Error(err)
	}
	if _, _, err := unpackContainer(t, l.tree, "two"); err != nil {
		t.Error(err)
	}
	if _, _, err := unpackContainer(t, l.tree, "three"); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
}

func tarOf(t testing.TB, tree fstest.MapFS) []byte {
	t.Helper()
	var entries []entry
	for name, f := range tree {
		entries = append(entries, entry{name: name, content: string(f.Data)})
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return makeTar(t, entries...)
}

// TestDockerSave has the two layouts that docker save has had: folders with layer.tar,
// a layer that occurs twice as a link, and blobs.
func TestDockerSave(t *testing.T) {
	l := newLayout(t)
	layer := makeTar(t, entry{name: "a", content: "1"})
	config := l.config(runtime.GOARCH, layer, layer)
	name := strings.TrimPrefix(digest(config), "sha256:")
	old := makeTar(t,
		entry{name: name + ".json", content: string(config)},
		entry{name: "one/layer.tar", content: string(layer)},
		entry{name: "two/layer.tar", link: "../one/layer.tar"},
		entry{name: "manifest.json", content: string(marshal(t, []object{{
			"Config": name + ".json", "RepoTags": []string{"app:1"}, "Layers": []string{"one/layer.tar", "two/layer.tar"},
		}}))},
	)
	blobs := makeTar(t,
		entry{name: "blobs/sha256/" + name, content: string(config)},
		entry{name: "blobs/sha256/layer", content: string(layer)},
		entry{name: "manifest.json", content: string(marshal(t, []object{{
			"Config": "blobs/sha256/" + name, "Layers": []string{"blobs/sha256/layer", "blobs/sha256/layer"},
		}}))},
	)
	for _, p := range [][]byte{old, blobs} {
		tree, err := OpenTar(bytes.NewReader(p), int64(len(p)))
		if err != nil {
			t.Fatal(err)
		}
		names, c, err := unpackContainer(t, tree, "")
		if err != nil || !slices.Equal(names, []string{"a = 1"}) || c.Digest != digest(config) {
			t.Errorf("%q, %+v, %v", names, c, err)
		}
	}
}

func TestHostileContainers(t *testing.T) {
	for name, spoil := range map[string]func(l *layout){
		"config is not what its digest says": func(l *layout) {
			l.replace("architecture", strings.Replace)
		},
		"layer is not what its digest says": func(l *layout) {
			for name, f := range l.tree {
				if bytes.HasPrefix(f.Data, []byte{0x1f, 0x8b}) {
					l.tree[name] = &fstest.MapFile{Data: zipped(l.t, makeTar(l.t, entry{name: "evil"}))}
				}
			}
		},
		"digest leads upwards": func(l *layout) {
			l.index(object{"digest": "sha256:../../../../etc/passwd"})
		},
		"unknown digest":    func(l *layout) { l.index(object{"digest": "md5:00"}) },
		"blob is missing":   func(l *layout) { l.index(object{"digest": digest([]byte("none"))}) },
		"index in itself":   func(l *layout) { l.nest(maxNesting + 1) },
		"nothing for us":    func(l *layout) { l.index(l.image(other())) },
		"no image":          func(l *layout) { l.index() },
		"index is no JSON":  func(l *layout) { l.tree["index.json"] = &fstest.MapFile{Data: []byte("{")} },
		"index is too long": func(l *layout) { l.tree["index.json"] = &fstest.MapFile{Data: make([]byte, maxDocument+1)} },
		"fewer diff ids": func(l *layout) {
			p := makeTar(l.t, entry{name: "a"})
			l.index(l.blob(marshal(l.t, object{"config": l.blob(l.config(runtime.GOARCH)), "layers": []object{l.blob(p)}})))
		},
		"wrong diff id": func(l *layout) {
			p := makeTar(l.t, entry{name: "a"})
			l.index(l.blob(marshal(l.t, object{"config": l.blob(l.config(runtime.GOARCH, []byte("x"))), "layers": []object{l.blob(p)}})))
		},
		"rubbish behind the layer": func(l *layout) {
			p := append(makeTar(l.t, entry{name: "a"}), make([]byte, imageSize*2)...)
			l.index(l.blob(marshal(l.t, object{"config": l.blob(l.config(runtime.GOARCH, p)), "layers": []object{l.blob(zipped(l.t, p))}})))
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLayout(t)
			l.index(l.image(runtime.GOARCH))
			spoil(l)
			if names, _, err := unpackContainer(t, l.tree, ""); !errors.Is(err, ErrFormat) {
				t.Errorf("%q, %v", names, err)
			}
		})
	}
}

// replace changes a word in every blob that has it, and leaves the names.
func (l *layout) replace(word string, with func(s, old, replacement string, n int) string) {
	for name, f := range l.tree {
		if strings.Contains(string(f.Data), word) && strings.HasPrefix(name, "blobs/") {
			l.tree[name] = &fstest.MapFile{Data: []byte(with(string(f.Data), word, strings.ToUpper(word), 1))}
		}
	}
}

// nest puts indexes into each other.
func (l *layout) nest(depth int) {
	d := l.image(runtime.GOARCH)
	for range depth {
		d = l.blob(marshal(l.t, object{"manifests": []object{d}}))
	}
	l.index(d)
}

// FuzzOCI imports container images whose archive was tampered with. It must hold what
// FuzzTarImport does, and that no file is opened but by a name that is in the archive.
func FuzzOCI(f *testing.F) {
	l := newLayout(f)
	l.index(l.image(runtime.GOARCH))
	f.Add(tarOf(f, l.tree))
	layer := makeTar(f, entry{name: "a", content: "1"})
	config := l.config(runtime.GOARCH, layer)
	name := strings.TrimPrefix(digest(config), "sha256:")
	f.Add(makeTar(f,
		entry{name: name + ".json", content: string(config)}, entry{name: "l/layer.tar", content: string(layer)},
		entry{name: "m", link: "l/layer.tar"}, entry{name: "n", kind: tar.TypeLink, link: "/etc/passwd"},
		entry{name: "manifest.json", content: string(marshal(f, []object{{"Config": name + ".json", "Layers": []string{"m"}}}))}))
	f.Fuzz(func(t *testing.T, p []byte) {
		tree, err := OpenTar(bytes.NewReader(p), int64(len(p)))
		if err != nil {
			return
		}
		c, err := OpenContainer(watched{t, tree}, "")
		if err != nil {
			return
		}
		w, m := newWriter(t)
		if err := c.Unpack(w, watched{t, tree}); err == nil {
			list(t, w, m, false)
		}
	})
}

// watched fails on names that lead out of a tree.
type watched struct {
	t *testing.T
	fs.FS
}

func (w watched) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) || path.Clean(name) != name {
		w.t.Fatalf("open %q", name)
	}
	return w.FS.Open(name)
}

func (w watched) Stat(name string) (fs.FileInfo, error) { return fs.Stat(w.FS, name) }

func TestDecompress(t *testing.T) {
	p := makeTar(t, entry{name: "a", content: "x"})
	for name, in := range map[string][]byte{"plain": p, "gzip": zipped(t, p), "zstd": zstded(t, p)} {
		r, closePlain, err := Decompress(bytes.NewReader(in))
		if err != nil {
			t.Fatal(name, err)
		}
		w, m := newWriter(t)
		if err := Unpack(w, r, false); err != nil || !slices.Equal(list(t, w, m, false), []string{"a = x"}) {
			t.Error(name, err)
		}
		closePlain()
	}
	if _, _, err := Decompress(strings.NewReader("")); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
	w, _ := newWriter(t)
	if err := Unpack(w, strings.NewReader(strings.Repeat("x", 1024)), false); !errors.Is(err, ErrFormat) || errors.Is(err, ext4.ErrPath) {
		t.Error(err)
	}
}
