package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/fleet"
	"github.com/gureum/gureum/fleet/state"
)

func newPsCommand(s Streams) *cobra.Command {
	var all, quiet bool
	cmd := &cobra.Command{
		Use:     "ps",
		Short:   "List machines",
		Example: "  gureum ps\n  gureum ps -a\n  gureum rm -f $(gureum ps -aq)",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			fl, err := openFleet()
			if err != nil {
				return err
			}
			list, broken := fl.List()
			if !all {
				list = running(list)
			}
			if err := printMachines(s.Out, list, quiet); err != nil {
				return err
			}
			return fleetError(broken)
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "list those that do not run, too")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print ids alone")
	return cmd
}

func running(list []*fleet.Machine) []*fleet.Machine {
	var out []*fleet.Machine
	for _, m := range list {
		if m.Phase == state.Running || m.Phase == state.Paused {
			out = append(out, m)
		}
	}
	return out
}

func printMachines(w io.Writer, list []*fleet.Machine, quiet bool) error {
	if quiet {
		for _, m := range list {
			fmt.Fprintln(w, m.ID)
		}
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tNAME\tSTATUS\tCPUS\tMEMORY\tIMAGE\tNETWORK")
	for _, m := range list {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", m.ID, m.Name, statusText(m.Status, time.Now()), max(m.Spec.CPUs, 1), m.Spec.Memory, imageText(m), networkText(m))
	}
	return table.Flush()
}

// statusText says in a few words what a machine is.
func statusText(st state.Status, now time.Time) string {
	switch st.Phase {
	case state.Running, state.Paused:
		text := fmt.Sprintf("%s %s", st.Phase, age(now.Sub(st.Started)))
		if st.Stage != state.StageAgent {
			text += " (" + string(st.Stage) + ")"
		}
		return text
	case state.Exited:
		status := "?"
		if st.ExitStatus != nil {
			status = fmt.Sprint(*st.ExitStatus)
		}
		return fmt.Sprintf("exited (%s) %s ago", status, age(now.Sub(st.Ended)))
	}
	return string(st.Phase)
}

// age writes a duration in its largest unit.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// imageText is what a machine boots.
func imageText(m *fleet.Machine) string {
	switch {
	case len(m.Spec.Disk) > 0:
		name, _, _ := strings.Cut(m.Spec.Disk[0], ",")
		return name
	case m.Spec.Kernel != "":
		return m.Spec.Kernel
	}
	return "embedded"
}

func networkText(m *fleet.Machine) string {
	var out []string
	for _, text := range m.Spec.Net {
		name, _, _ := strings.Cut(text, ",")
		out = append(out, name)
	}
	return strings.Join(out, ",")
}
