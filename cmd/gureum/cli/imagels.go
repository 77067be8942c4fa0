package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/guest/image"
	"github.com/gureum/gureum/vm"
)

func newImageListCommand(s Streams) *cobra.Command {
	var output string
	var quiet bool
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "List images, the newest first",
		Example: "  gureum image ls\n  gureum image ls -q\n  gureum image ls -o json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			store, err := image.Open("")
			if err != nil {
				return err
			}
			list, broken := store.List()
			if err := printImages(s.Out, output, quiet, list); err != nil {
				return err
			}
			if broken != nil {
				return machineErrorf("%w", broken)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "form of the output: table or json")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print ids alone")
	return cmd
}

// imageJSON is an image in image ls and image inspect -o json.
type imageJSON struct {
	image.Manifest
	Names []string `json:"names"`
	Dir   string   `json:"dir"`
	Used  int64    `json:"used_bytes"`
	InUse bool     `json:"in_use"`
}

func newImageJSON(img *image.Image) imageJSON {
	inUse, err := img.InUse()
	names := append([]string{}, img.Names...) // [] and not null
	return imageJSON{img.Manifest, names, img.Dir, img.Used(), inUse || err != nil}
}

func printImages(w io.Writer, form string, quiet bool, list []image.Image) error {
	if quiet {
		for i := range list {
			fmt.Fprintln(w, list[i].ID)
		}
		return nil
	}
	if form == "json" {
		all := make([]imageJSON, 0, len(list))
		for i := range list {
			all = append(all, newImageJSON(&list[i]))
		}
		return printJSON(w, all)
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tID\tSIZE\tON DISK\tKERNEL\tCREATED\tOS")
	for i := range list {
		img := &list[i]
		kernel := img.Release
		if img.Kernel == "" {
			kernel = "gureum's"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%.1f MB\t%s\t%s\t%s\n", namesOf(img), img.ID, vm.FormatSize(uint64(img.Size)),
			float64(img.Used())/1e6, kernel, img.Created.Format(time.DateOnly), img.OS)
	}
	return table.Flush()
}

func newImageInspectCommand(s Streams) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "inspect IMAGE",
		Short:   "Show what is known of an image",
		Example: "  gureum image inspect debian:12\n  gureum image inspect -o json debian:12 | jq -r .dir",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			store, err := image.Open("")
			if err != nil {
				return err
			}
			img, err := store.Get(args[0])
			if err != nil {
				return imageError(err)
			}
			if output == "json" {
				return printJSON(s.Out, newImageJSON(&img))
			}
			return printImage(s.Out, &img)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "form of the output: table or json")
	return cmd
}

func printImage(w io.Writer, img *image.Image) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(table, "%s\t%s\n", name, value)
		}
	}
	row("names", namesOf(img))
	row("id", img.ID)
	row("system", img.OS)
	row("made from", img.Source)
	row("created", img.Created.Format(time.RFC3339))
	row("disk", img.DiskPath())
	row("size", vm.FormatSize(uint64(img.Size)))
	row("on disk", fmt.Sprintf("%.1f MB", float64(img.Used())/1e6))
	row("kernel", img.Release)
	row("command line", img.Cmdline)
	row("guest agent", strconv.FormatBool(img.Agent))
	if p := img.Process; p != nil {
		row("process", fmt.Sprintf("%q", append(append([]string{}, p.Entrypoint...), p.Cmd...)))
	}
	used, err := img.InUse()
	row("in use", strconv.FormatBool(used))
	return errors.Join(table.Flush(), err)
}

// sourceDate reads SOURCE_DATE_EPOCH (reproducible-builds.org/specs/source-date-epoch).
func sourceDate() (time.Time, error) {
	value := os.Getenv("SOURCE_DATE_EPOCH")
	if value == "" {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseInt(value, 10, 40)
	if err != nil || seconds < 0 {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH %q: give seconds since 1970", value)
	}
	return time.Unix(seconds, 0), nil
}
