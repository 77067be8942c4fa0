package cli

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/fleet"
)

// nameProcess gives a process of the fleet the program's name in lists of processes. It was
// started by /proc/self/exe, which is the program even if its file was replaced, and so
// goes by "exe".
func nameProcess(*cobra.Command, []string) error {
	return os.WriteFile("/proc/self/comm", []byte("gureum"), 0)
}

// newSuperviseCommand looks after machines that have ended; package fleet starts it.
func newSuperviseCommand() *cobra.Command {
	return &cobra.Command{
		Use:    fleet.SuperviseCommand,
		Hidden: true, Annotations: smallPages,
		Args: cobra.NoArgs, PreRunE: nameProcess,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fl, err := openFleet()
			if err != nil {
				return err
			}
			return fleetError(fl.Supervise(cmd.Context()))
		},
	}
}

// newServiceCommand serves a network; package fleet starts it.
func newServiceCommand() *cobra.Command {
	return &cobra.Command{
		Use:    fleet.ServiceCommand + " NETWORK",
		Hidden: true, Annotations: smallPages,
		Args: cobra.ExactArgs(1), PreRunE: nameProcess,
		RunE: func(cmd *cobra.Command, args []string) error {
			fl, err := openFleet()
			if err != nil {
				return err
			}
			// The lock that says that it lives is held by being open.
			alive, report := os.NewFile(fleet.FirstFile, "alive"), os.NewFile(fleet.FirstFile+1, "report")
			err = fl.ServeNetwork(cmd.Context(), args[0], report)
			if err != nil {
				_, _ = report.WriteString(err.Error())
			}
			return fleetError(errors.Join(err, alive.Close()))
		},
	}
}
