package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/fleet"
	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/fleet/state"
)

func newPsCommand(s Streams) *cobra.Command {
	var o psOptions
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List machines",
		Long: `Ps lists the machines that run, the oldest first, or with -a all. It asks none of them,
so it never waits. In brackets is how far a guest came that is not up: kernel.`,
		Example: "  gureum ps\n  gureum ps -a --label tier=web\n  gureum rm -f $(gureum ps -aq)\n" +
			"  gureum ps --format '{{.name}} {{.phase}}'",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return o.run(s) },
	}
	f := cmd.Flags()
	addOutputFlag(f, &o.form, "table")
	f.BoolVar(&o.json, "json", false, "the same as --output json")
	f.StringVar(&o.format, "format", "", "the same as --output go-template=`TEMPLATE`")
	f.BoolVarP(&o.all, "all", "a", false, "list those that do not run, too")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print ids alone")
	f.StringArrayVarP(&o.labels, "label", "l", nil, "only those with this label, `KEY[=VALUE]`; repeatable")
	cmd.MarkFlagsMutuallyExclusive("output", "json", "format", "quiet")
	return cmd
}

// psOptions are the flags of gureum ps.
type psOptions struct {
	form             outputForm
	format           string
	json, all, quiet bool
	labels           []string
}

func (o *psOptions) run(s Streams) error {
	switch {
	case o.json:
		o.form.form = "json"
	case o.format != "":
		if err := o.form.Set(templatePrefix + o.format); err != nil {
			return fmt.Errorf("format: %w", err)
		}
	}
	fl, err := openFleet()
	if err != nil {
		return err
	}
	list, broken := fl.List()
	if !o.all {
		list = running(list)
	}
	if list, err = labelled(list, o.labels); err != nil {
		return err
	}
	if o.quiet {
		for _, m := range list {
			fmt.Fprintln(s.Out, m.ID)
		}
		return fleetError(broken)
	}
	if err := o.form.print(s.Out, list, func(w io.Writer) error { return printMachines(w, list) }); err != nil {
		return err
	}
	return fleetError(broken)
}

// labelled picks machines that have all of the labels; one without = stands for any
// value.
func labelled(list []*fleet.Machine, want []string) ([]*fleet.Machine, error) {
	out := []*fleet.Machine{}
	if _, err := spec.ParseLabels(want); err != nil {
		return nil, err
	}
	for _, m := range list {
		have, err := spec.ParseLabels(m.Spec.Label)
		if err != nil {
			return nil, fmt.Errorf("machine %s: %w", m.Name, err)
		}
		if !slices.ContainsFunc(want, func(text string) bool {
			key, value, exact := strings.Cut(text, "=")
			got, is := have[key]
			return !is || exact && got != value
		}) {
			out = append(out, m)
		}
	}
	return out, nil
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

func printMachines(w io.Writer, list []*fleet.Machine) error {
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
