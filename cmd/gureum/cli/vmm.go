package cli

import (
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/fleet"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/fleet/vmm"
)

// newProcessCommand is a machine's process; package fleet starts it.
func newProcessCommand() *cobra.Command {
	return &cobra.Command{
		Use:    fleet.ProcessCommand + " ID QUEUES...",
		Hidden: true,
		Args:   cobra.MinimumNArgs(1),
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
			o.Alive, o.Report = inherit("alive"), inherit("report")
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
			if status := vmm.Run(o); status != 0 {
				return &statusError{status: status}
			}
			return nil
		},
	}
}
