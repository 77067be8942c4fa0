package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/fleet"
	"github.com/gureum/gureum/fleet/state"
)

func newNetworkCommand(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "network",
		Short: "Make, list and remove networks",
		Long: `A network is a virtual switch on this host: machines on it reach one another by name,
the outside through the host, and those on other networks not at all. The network
"default" is there without being made.

Without root, networks are names alone: each machine on one has a user-mode network of
its own.`,
		Example: "  gureum network create backend\n  gureum run -d --name db --net backend\n  gureum network ls",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newNetworkCreateCommand(s), newNetworkListCommand(s), newNetworkInspectCommand(s), newNetworkRemoveCommand(s))
	return cmd
}

func newNetworkCreateCommand(s Streams) *cobra.Command {
	var n fleet.NetworkSpec
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a network",
		Example: `  gureum network create backend
  gureum network create backend --subnet 10.90.0.0/24 --internal
  gureum network create guests --isolated --ipv6 none`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			fl, err := openFleet()
			if err != nil {
				return err
			}
			n.Name = args[0]
			made, err := fl.CreateNetwork(cmd.Context(), n)
			if err != nil {
				return fleetError(err)
			}
			fmt.Fprintln(s.Out, made.ID)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&n.Subnet, "subnet", "", "its IPv4 subnet, a `CIDR` (default: a free one)")
	f.StringVar(&n.Subnet6, "ipv6", "", "its IPv6 subnet, a `CIDR` of 64 bits, or none (default: one of its own)")
	f.IntVar(&n.MTU, "mtu", 0, "largest packet in bytes (default 1500)")
	f.BoolVar(&n.Internal, "internal", false, "no way to the outside or from it")
	f.BoolVar(&n.Isolated, "isolated", false, "machines on it do not reach one another")
	f.BoolVar(&n.HostAccess, "host-access", false, "machines on it reach this host's own services")
	return cmd
}

func newNetworkListCommand(s Streams) *cobra.Command {
	var output string
	var quiet bool
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "List networks",
		Example: "  gureum network ls\n  gureum network ls -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output); err != nil {
				return err
			}
			fl, err := openFleet()
			if err != nil {
				return err
			}
			list, err := fl.Networks(cmd.Context())
			if err := printNetworks(s.Out, output, quiet, list); err != nil {
				return err
			}
			return fleetError(err)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "form of the output: table or json")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print ids alone")
	return cmd
}

func printNetworks(w io.Writer, form string, quiet bool, list []*state.Network) error {
	if quiet {
		for _, n := range list {
			fmt.Fprintln(w, n.ID)
		}
		return nil
	}
	if form == "json" {
		return printJSON(w, list)
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tNAME\tSUBNET\tIPV6\tMTU\tKIND")
	for _, n := range list {
		subnet6 := "-"
		if n.Subnet6.IsValid() {
			subnet6 = n.Subnet6.String()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\n", n.ID, n.Name, n.Subnet, subnet6, n.MTU, networkKind(n))
	}
	return table.Flush()
}

// networkKind says in words what is special about a network.
func networkKind(n *state.Network) string {
	var words []string
	for word, is := range map[string]bool{"internal": n.Internal, "isolated": n.Isolated, "host-access": n.HostAccess} {
		if is {
			words = append(words, word)
		}
	}
	if len(words) == 0 {
		return "-"
	}
	slices.Sort(words)
	return strings.Join(words, ",")
}

func newNetworkInspectCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:     "inspect NETWORK",
		Short:   "Show what is known of a network, and who is on it",
		Example: "  gureum network inspect default",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			fl, err := openFleet()
			if err != nil {
				return err
			}
			view, err := fl.InspectNetwork(args[0])
			if err != nil {
				return fleetError(err)
			}
			return printJSON(s.Out, view)
		},
	}
}

func newNetworkRemoveCommand(s Streams) *cobra.Command {
	return eachNamed(s, &cobra.Command{
		Use:     "rm NETWORK...",
		Short:   "Remove networks that no machine is on",
		Example: "  gureum network rm backend",
	}, func(ctx context.Context, fl *fleet.Fleet, ref string) error { return fl.RemoveNetwork(ctx, ref) })
}
