package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/fleet"
	"github.com/gureum/gureum/fleet/project"
)

// defaultFile is the file that up and down read when none is named.
const defaultFile = "gureum.yaml"

func newUpCommand(s Streams) *cobra.Command {
	var file string
	var prune, dryRun bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Make the machines and networks of a file, or change what has changed in it",
		Long: `Up reads a file that defines machines, by the flags of gureum run, and networks, by those
of gureum network create, and does what is needed to have them as it says: what is there
already and the same is left alone. A machine whose definition has changed is stopped and
started again; it keeps its disks' layers and its addresses. Docs/vms.md has the form of
the file.`,
		Example: "  gureum up\n  gureum up -f shop.yaml\n  gureum up -f shop.yaml --dry-run",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withProject(cmd.Context(), file, func(ctx context.Context, fl *fleet.Fleet, f *project.File, now project.Now) error {
				changes, orphans, err := f.Diff(now, prune)
				if err != nil {
					return err // the user's
				}
				for _, name := range orphans {
					fmt.Fprintf(s.Err, "gureum: machine %s is of project %s, and not in the file: --remove-orphans removes it\n", name, f.Name)
				}
				return makeChanges(ctx, s, fl, f, changes, dryRun)
			})
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", defaultFile, "the `FILE`; - for standard input")
	cmd.Flags().BoolVar(&prune, "remove-orphans", false, "remove machines of the project that the file no longer has")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be done")
	return cmd
}

func newDownCommand(s Streams) *cobra.Command {
	var file string
	var dryRun bool
	cmd := &cobra.Command{
		Use:     "down",
		Short:   "Remove the machines and networks of a file",
		Example: "  gureum down\n  gureum down -f shop.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withProject(cmd.Context(), file, func(ctx context.Context, fl *fleet.Fleet, f *project.File, now project.Now) error {
				return makeChanges(ctx, s, fl, f, f.Undo(now), dryRun)
			})
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", defaultFile, "the `FILE`; - for standard input")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be done")
	return cmd
}

// withProject reads the file and looks at what there is.
func withProject(ctx context.Context, file string, do func(context.Context, *fleet.Fleet, *project.File, project.Now) error) error {
	f, err := readProject(file)
	if err != nil {
		return err
	}
	fl, err := openFleet()
	if err != nil {
		return err
	}
	now, err := project.Look(ctx, fl)
	if err != nil {
		return fleetError(err)
	}
	return do(ctx, fl, f, now)
}

func readProject(file string) (*project.File, error) {
	in := io.ReadCloser(os.Stdin)
	if file != "-" {
		var err error
		if in, err = os.Open(file); err != nil {
			if errors.Is(err, os.ErrNotExist) && file == defaultFile {
				return nil, fmt.Errorf("there is no %s here: name the file with -f", defaultFile)
			}
			return nil, err
		}
	}
	defer in.Close()
	return project.Parse(in, file)
}

// makeChanges says on standard output what it does, a line each.
func makeChanges(ctx context.Context, s Streams, fl *fleet.Fleet, f *project.File, changes []project.Change, dryRun bool) error {
	tell := func(c project.Change) { fmt.Fprintln(s.Out, c) }
	if dryRun {
		for _, c := range changes {
			tell(c)
		}
		return nil
	}
	return fleetError(f.Apply(ctx, fl, changes, tell))
}
