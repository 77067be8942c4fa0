package cli

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/fleet"
	"github.com/gureum/gureum/fleet/jail"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/fleet/vmm"
)

// newProcessCommand is a machine's process; package fleet starts it.
func newProcessCommand() *cobra.Command {
	var leash bool
	var shares int
	cmd := &cobra.Command{
		Use:    fleet.ProcessCommand + " ID QUEUES...",
		Hidden: true, Annotations: smallPages,
		Args: cobra.MinimumNArgs(1), PreRunE: nameProcess,
		RunE: func(_ *cobra.Command, args []string) error {
			dirs, err := state.DefaultDirs()
			if err != nil {
				return err
			}
			o := vmm.Options{Dirs: dirs, ID: args[0], Release: Version + revision()}
			next := uintptr(fleet.FirstFile)
			inherit := func(name string) *os.File {
				next++
				return os.NewFile(next-1, name)
			}
			if o.Alive, o.Report = inherit("alive"), inherit("report"); leash {
				o.Leash = inherit("leash")
			}
			for _, text := range args[1:] {
				n, err := strconv.Atoi(text)
				if err != nil || n < 1 {
					return fmt.Errorf("%q is no number of queues", text)
				}
				var queues []*os.File
				for range n {
					queues = append(queues, inherit("tap"))
				}
				o.Queues = append(o.Queues, queues)
			}
			for range shares {
				o.Shares = append(o.Shares, inherit("share"))
			}
			if err := jail.CloseInherited(int(next)); err != nil {
				return err
			}
			if status := vmm.Run(o); status != 0 {
				return &statusError{status: status}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&leash, strings.TrimPrefix(fleet.LeashFlag, "--"), false, "end when nobody holds the other end of the third file")
	cmd.Flags().IntVar(&shares, strings.TrimPrefix(fleet.SharesFlag, "--"), 0, "how many of the last files are shared folders")
	return cmd
}
