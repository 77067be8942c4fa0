package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/guest/disk"
	"github.com/gureum/gureum/guest/image"
	"github.com/gureum/gureum/guest/image/debian"
)

const imageLong = `Image keeps the disk images that machines start from.

Images lie in /var/lib/gureum/images for root, in gureum/images in the user's data
folder (XDG_DATA_HOME, else ~/.local/share) for others, or where GUREUM_IMAGES says.
'gureum run --disk NAME' boots one, on a scratch layer that is gone afterwards.`

func newImageCommand(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Build, import, list and remove disk images",
		Long:  imageLong,
		Example: "  gureum image build debian:12\n" +
			"  gureum image import --name web rootfs.tar.zst\n" +
			"  gureum image ls\n" +
			"  gureum run --memory 1G --disk debian:12",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newImageBuildCommand(s), newImageImportCommand(s), newImageListCommand(s),
		newImageRemoveCommand(s), newImageInspectCommand(s))
	return cmd
}

// makeOptions are the flags of commands that make images.
type makeOptions struct {
	name, format string
	size         spec.Size
	quiet        bool
}

func (o *makeOptions) addFlags(f *pflag.FlagSet) {
	o.size = image.DefaultSize
	f.StringVar(&o.format, "format", "raw", "format of the disk: raw (with holes) or qcow2")
	f.Var(&o.size, "size", "size of the file system")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print the image's id alone, and no progress")
}

func (o *makeOptions) options(s Streams) image.ImportOptions {
	options := image.ImportOptions{Name: o.name, Format: disk.Format(o.format), Size: int64(min(o.size, 1<<62))}
	if !o.quiet {
		options.Progress = func(msg string) { fmt.Fprintln(s.Err, msg) }
	}
	return options
}

// print tells of the image that was made: its name, or with -q its id.
func (o *makeOptions) print(s Streams, img image.Image) {
	if o.quiet {
		fmt.Fprintln(s.Out, img.ID)
		return
	}
	fmt.Fprintln(s.Out, o.name)
}

// making runs f until it is done or a signal wants its end, so that nothing half-made
// stays behind.
func making(parent context.Context, f func(ctx context.Context, store *image.Store) (image.Image, error)) (image.Image, error) {
	ctx, stop := signal.NotifyContext(parent, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	store, err := image.Open("")
	if err != nil {
		return image.Image{}, err
	}
	img, err := f(ctx, store)
	return img, imageError(err)
}

// imageError gives errors their exit status: what the host lacks or fails at is not the
// user's input.
func imageError(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, debian.ErrTool):
		return &statusError{StatusHost, err}
	case errors.Is(err, image.ErrNotFound), errors.Is(err, image.ErrName):
		return err
	case errors.Is(err, image.ErrInUse), errors.As(err, &path), errors.As(err, &link), errors.Is(err, context.Canceled), errors.Is(err, unix.ENOSPC):
		return machineErrorf("%w", err)
	}
	return err
}

func newImageBuildCommand(s Streams) *cobra.Command {
	var o makeOptions
	var packages []string
	var agent string
	cmd := &cobra.Command{
		Use:   "build debian:RELEASE",
		Short: "Build a Debian image from the package archive",
		Long: `Build makes a bootable image of Debian: systemd, its stock cloud kernel, an ssh
server and cloud-init. It runs mmdebstrap, with the mirror, proxy and certificates
that this host's apt is set up with, and needs no root where user namespaces are
allowed (newuidmap, of the package uidmap). machine-id and ssh host keys are made at
the first boot. With SOURCE_DATE_EPOCH set, the same packages make the same image.

Exit status: 2 for wrong input or packages that are not there, 69 if this host lacks
mmdebstrap, 125 if the host failed.`,
		Example: "  gureum image build debian:12\n" +
			"  gureum image build debian:12 --name web --package nginx --size 20G --format qcow2",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.name == "" {
				o.name = args[0]
			}
			program, err := readAgent(agent)
			if err != nil {
				return err
			}
			options := image.BuildOptions{ImportOptions: o.options(s), Packages: packages, Agent: program}
			if options.Time, err = sourceDate(); err != nil {
				return err
			}
			img, err := making(cmd.Context(), func(ctx context.Context, store *image.Store) (image.Image, error) {
				return store.Build(ctx, args[0], options)
			})
			if err == nil {
				o.print(s, img)
			}
			return err
		},
	}
	o.addFlags(cmd.Flags())
	cmd.Flags().StringVar(&o.name, "name", "", "`NAME` of the image (default: what is built, such as debian:12)")
	cmd.Flags().StringArrayVar(&packages, "package", nil, "install this `PACKAGE` too; may be repeated")
	cmd.Flags().StringVar(&agent, "agent", "", "guest agent, a static program `FILE` (default: gureum-agent beside gureum, if it is there)")
	return cmd
}

// readAgent reads the guest agent's program.
func readAgent(path string) ([]byte, error) {
	if path != "" {
		return os.ReadFile(path)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil // then there is nothing beside it
	}
	p, err := os.ReadFile(filepath.Join(filepath.Dir(self), "gureum-agent"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return p, err
}

func newImageImportCommand(s Streams) *cobra.Command {
	var o makeOptions
	var kind, ref string
	cmd := &cobra.Command{
		Use:   "import --name NAME PATH",
		Short: "Import a root file system, a container image or a disk",
		Long: `Import makes an image of what lies at PATH; - reads an archive from standard input:

  a root file system as tar, compressed by gzip, zstd, xz or bzip2 or not at all
  a container image: an OCI layout (folder or tar), or what 'docker save' writes
  a disk, raw or qcow2: it is copied; its kernel is taken from an ext4 file system
  without a partition table or from the ext4 partitions of a GPT

A newest kernel in /boot, and its RAM disk, boot the image. One without a kernel
boots gureum's own. Nothing of an archive is unpacked on the host.`,
		Example: "  gureum image import --name alpine alpine-minirootfs.tar.gz\n" +
			"  docker save nginx | gureum image import --name nginx -\n" +
			"  gureum image import --name debian debian-12-genericcloud-amd64.qcow2",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			options := o.options(s)
			switch options.Kind, options.Ref = image.Kind(kind), ref; options.Kind {
			case image.RootFS, image.OCI, image.Disk:
			case "auto":
				options.Kind = image.Auto
			default:
				return fmt.Errorf("type %q: give auto, rootfs, oci or disk", kind)
			}
			if err := checkSource(args[0]); err != nil {
				return err
			}
			img, err := making(cmd.Context(), func(ctx context.Context, store *image.Store) (image.Image, error) {
				return store.Import(ctx, args[0], s.In, options)
			})
			if err == nil {
				o.print(s, img)
			}
			return err
		},
	}
	o.addFlags(cmd.Flags())
	cmd.Flags().StringVar(&o.name, "name", "", "`NAME` of the image")
	cmd.Flags().StringVar(&kind, "type", "auto", "what it is: auto (by its content), rootfs, oci or disk")
	cmd.Flags().StringVar(&ref, "ref", "", "the `NAME` of the container image, where there are several")
	_ = cmd.MarkFlagRequired("name") // it exists
	return cmd
}

// checkSource finds a path that cannot be read before anything is created.
func checkSource(path string) error {
	if path == "-" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

func newImageRemoveCommand(s Streams) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "rm IMAGE...",
		Short: "Remove images",
		Long: `Rm takes names of images away, and images with their last name or by their id.
An image that a machine uses stays, unless forced. With -f, one that is not there is no
error.`,
		Example: "  gureum image rm debian:12\n  gureum image rm -f web 3f2a91c04b7d",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			store, err := image.Open("")
			if err != nil {
				return err
			}
			var errs []error
			for _, name := range args {
				err := store.Remove(name, force)
				if err == nil {
					fmt.Fprintln(s.Out, name)
				} else if !force || !errors.Is(err, image.ErrNotFound) {
					errs = append(errs, err)
				}
			}
			return imageError(errors.Join(errs...))
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "remove images that are in use, and do not complain of those that are not there")
	return cmd
}

// namesOf lists an image's names for people.
func namesOf(img *image.Image) string {
	if len(img.Names) == 0 {
		return "-"
	}
	return strings.Join(img.Names, ", ")
}
