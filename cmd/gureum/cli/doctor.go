package cli

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/vm/hostcheck"
)

func newDoctorCommand(s Streams) *cobra.Command {
	var output, device string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check whether this host can run machines, and say how to mend it",
		Long: "Doctor checks the CPU, the KVM device and what networks and large guests need, and, run by\n" +
			"root, whether a firewall or a setting of this host is in the networks' way.\n" +
			"Exit status: 0 if machines can run, 69 if not. A warning takes a feature or speed away.",
		Example: "  gureum doctor\n  gureum doctor -o json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			findings := append(hostcheck.Host{Root: "/", Device: device}.Run(), networkFindings()...)
			if err := printFindings(s.Out, output, findings); err != nil {
				return err
			}
			if hostcheck.Worst(findings) == hostcheck.Failed {
				return &statusError{status: StatusHost}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "form of the output: table or json")
	cmd.Flags().StringVar(&device, "kvm-device", "/dev/kvm", "the KVM `DEVICE`")
	return cmd
}

func printFindings(w io.Writer, form string, findings []hostcheck.Finding) error {
	if form == "json" {
		return printJSON(w, findings)
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, f := range findings {
		fmt.Fprintf(table, "%s\t%s\t%s\n", f.Check, f.Status, f.Detail)
		if f.Fix != "" {
			fmt.Fprintf(table, "\t\tfix: %s\n", f.Fix)
		}
	}
	return table.Flush()
}
