package cli

import (
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/guest/agent"
)

func newCopyCommand() *cobra.Command {
	var wait time.Duration
	var limit spec.Size
	var entries int
	cmd := &cobra.Command{
		Use:   "cp SOURCE TARGET",
		Short: "Copy files into a machine, or out of it",
		Long: `Cp copies a file or a folder. One of both is in a machine, written as MACHINE:PATH; one
that is here and has a colon in its name is written with a slash, as ./a:b. If TARGET is
a folder, it goes into it, else it gets that name. The guest's agent does the guest's
part, with its rights.

Whatever a guest sends, only what was named is written, and no more than the limits.`,
		Example: "  gureum cp site web:/srv\n  gureum cp web:/var/log/syslog .",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, source, fromGuest := cutMachine(args[0])
			to, target, toGuest := cutMachine(args[1])
			if fromGuest == toGuest {
				return errors.New("give one path here and one in a machine, as in: gureum cp FILE MACHINE:PATH")
			}
			if limit == 0 || entries < 1 {
				return errors.New("limit and max-files: give more than 0")
			}
			if source == "" || target == "" {
				return errors.New("give a path behind the machine's colon, as in: web:/srv")
			}
			fl, err := openFleet()
			if err != nil {
				return err
			}
			client, err := fl.Agent(cmd.Context(), from+to, wait)
			if err != nil {
				return fleetError(err)
			}
			defer client.Close()
			if toGuest {
				return fleetError(client.CopyTo(cmd.Context(), source, target))
			}
			limits := agent.CopyLimits{Bytes: int64(min(limit, 1<<62)), Entries: entries}
			return fleetError(client.CopyFrom(cmd.Context(), source, target, limits))
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 30*time.Second, "how long to wait for the guest's agent, a `DURATION`")
	limit, entries = agent.DefaultCopyBytes, agent.DefaultCopyEntries
	cmd.Flags().Var(&limit, "limit", "take no more than this from a guest")
	cmd.Flags().IntVar(&entries, "max-files", entries, "take no more than `N` files and folders from a guest")
	return cmd
}

// cutMachine cuts MACHINE:PATH. A path without a machine comes back as it is.
func cutMachine(arg string) (machine, path string, is bool) {
	machine, path, is = strings.Cut(arg, ":")
	if !is || machine == "" || strings.Contains(machine, "/") {
		return "", arg, false
	}
	return machine, path, true
}
