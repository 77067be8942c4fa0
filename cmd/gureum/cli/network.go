package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/fleet"
	"github.com/gureum/gureum/fleet/state"
)

func newNetworkCommand(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "network",
		Short: "Make, list and remove networks, and connect machines to them",
		Long: `A network is a virtual switch on this host: machines on it reach one another by name,
the outside through the host, and those on other networks not at all. The network
"default" is there without being made.

Without root, networks are names alone: each machine on one has a user-mode network of
its own.`,
		Example: "  gureum network create backend\n  gureum run -d --name db --net backend\n  gureum network disconnect backend db\n  gureum network ls",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newNetworkCreateCommand(s), newNetworkListCommand(s), newNetworkInspectCommand(s), newNetworkRemoveCommand(s),
		newNetworkConnectCommand(s), newNetworkDisconnectCommand())
	return cmd
}

func newNetworkCreateCommand(s Streams) *cobra.Command {
	var n fleet.NetworkSpec
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a network",
		Long: `Create makes a network. Machines on it reach one another and the outside, and this host
reaches them; of this host they reach the network's own services alone: addresses, names
and echo. Each flag changes one of these:

  --internal      they do not reach the outside, nor it them
  --isolated      they do not reach one another
  --host-access   they reach this host's own services
  --shielded      this host does not reach them

Ports that machines publish (gureum run --publish) are reached all the same, but not on an
internal network.`,
		Example: `  gureum network create backend
  gureum network create backend --subnet 10.90.0.0/24 --internal
  gureum network create guests --isolated --shielded --ipv6 none`,
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
	f.BoolVar(&n.Shielded, "shielded", false, "this host does not reach machines on it, but for what they publish")
	return cmd
}

func newNetworkListCommand(s Streams) *cobra.Command {
	var form outputForm
	var quiet bool
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "List networks",
		Long:    "Ls lists the networks, the oldest first.",
		Example: "  gureum network ls\n  gureum network ls -o json\n  gureum network ls -o 'go-template={{.name}} {{.subnet}}'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fl, err := openFleet()
			if err != nil {
				return err
			}
			list, broken := fl.Networks(cmd.Context())
			if quiet {
				for _, n := range list {
					fmt.Fprintln(s.Out, n.ID)
				}
				return fleetError(broken)
			}
			if list == nil {
				list = []*state.Network{}
			}
			if err := form.print(s.Out, list, func(w io.Writer) error { return printNetworks(w, list) }); err != nil {
				return err
			}
			return fleetError(broken)
		},
	}
	addOutputFlag(cmd.Flags(), &form, "table")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print ids alone")
	cmd.MarkFlagsMutuallyExclusive("output", "quiet")
	return cmd
}

func printNetworks(w io.Writer, list []*state.Network) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tNAME\tSUBNET\tIPV6\tMTU\tKIND")
	for _, n := range list {
		subnet6 := "-"
		if n.Subnet6.IsValid() {
			subnet6 = n.Subnet6.String()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\n", n.ID, n.Name, n.Subnet, subnet6, n.MTU, cmp.Or(networkKind(n), "-"))
	}
	return table.Flush()
}

// networkKind says in the words of the flags what is special about a network.
func networkKind(n *state.Network) string {
	var words []string
	for _, k := range []struct {
		word string
		is   bool
	}{{"internal", n.Internal}, {"isolated", n.Isolated}, {"host-access", n.HostAccess}, {"shielded", n.Shielded}} {
		if k.is {
			words = append(words, k.word)
		}
	}
	return strings.Join(words, ",")
}

func newNetworkRemoveCommand(s Streams) *cobra.Command {
	return eachNamed(s, &cobra.Command{
		Use:     "rm NETWORK...",
		Short:   "Remove networks that no machine is on",
		Example: "  gureum network rm backend",
	}, func(ctx context.Context, fl *fleet.Fleet, ref string) error { return fl.RemoveNetwork(ctx, ref) })
}
