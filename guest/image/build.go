package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/gureum/gureum/guest/image/archive"
	"github.com/gureum/gureum/guest/image/debian"
	"github.com/gureum/gureum/guest/image/ext4"
)

// BuildOptions say how to build. ImportOptions.Time is the time to which later ones in
// the file system are set; a fixed one makes two builds from the same packages the same.
type BuildOptions struct {
	ImportOptions
	Packages []string // besides the usual ones
	Agent    []byte   // the guest agent's program; nil for none
}

// Build makes an image of a distribution, such as "debian:12", from its package archive.
func (s *Store) Build(ctx context.Context, what string, o BuildOptions) (Image, error) {
	if o.Name == "" {
		o.Name = what
	}
	if err := o.complete(); err != nil {
		return Image{}, err
	}
	release, ok := strings.CutPrefix(what, "debian:")
	if !ok {
		return Image{}, fmt.Errorf("build %q: give debian:12, or import what others built", what)
	}
	if _, err := debian.Suite(release); err != nil {
		return Image{}, err
	}
	for _, name := range o.Packages {
		if err := debian.CheckPackage(name); err != nil {
			return Image{}, err
		}
	}
	m := &Manifest{Source: what, Agent: len(o.Agent) > 0}
	img, err := s.makeRoot(&o.ImportOptions, m, func(w *ext4.Writer) (string, error) {
		h := sha256.New()
		c := debian.Config{Release: release, Packages: o.Packages, Time: o.Time, Progress: o.Progress}
		err := debian.Root(ctx, c, func(r io.Reader) error {
			r = &hashReader{r, h}
			if err := archive.Unpack(w, r, false); err != nil {
				return err
			}
			_, err := io.Copy(io.Discard, r) // what pads the tar
			return err
		})
		if err != nil {
			return "", err
		}
		_, _ = h.Write(o.Agent)
		return hex.EncodeToString(h.Sum(nil)), debian.Fit(w, o.Agent, o.Time)
	})
	if err != nil {
		return Image{}, fmt.Errorf("build %s: %w", what, err)
	}
	return img, nil
}
