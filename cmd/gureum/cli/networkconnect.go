package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/fleet"
)

func newNetworkConnectCommand(s Streams) *cobra.Command {
	var a fleet.Address
	cmd := &cobra.Command{
		Use:   "connect NETWORK MACHINE",
		Short: "Put a machine on a network, and print its address there",
		Long: `Connect gives a machine that does not run another interface, on the network; it is there
from the next start on.

Interfaces cannot be added to a machine that runs: stop it first, or give the network when
it is made (gureum run --net). But the cable of one that was disconnected since the start
is plugged in again.`,
		Example: `  gureum network connect backend web
  gureum network connect backend web --ip 10.90.0.80
  gureum stop web && gureum network connect backend web && gureum start web`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			fl, err := openFleet()
			if err != nil {
				return err
			}
			port, err := fl.ConnectNetwork(cmd.Context(), args[0], args[1], a)
			if err != nil {
				return fleetError(err)
			}
			fmt.Fprintln(s.Out, port.IP)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&a.IP, "ip", "", "its IPv4 `ADDRESS` there (default: one that is free)")
	f.StringVar(&a.IP6, "ip6", "", "its IPv6 `ADDRESS` there, from which its MAC address follows")
	f.StringVar(&a.MAC, "mac", "", "its MAC `ADDRESS` there (default: one of its own)")
	return cmd
}

func newNetworkDisconnectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "disconnect NETWORK MACHINE",
		Short: "Take a machine off a network",
		Long: `Disconnect takes a machine off a network at once. One that runs keeps the interface, with
its cable out, until it ends; connect plugs it in again until then. What it published there
is published on its next network, if it has one.`,
		Example: "  gureum network disconnect backend web",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			fl, err := openFleet()
			if err != nil {
				return err
			}
			return fleetError(fl.DisconnectNetwork(cmd.Context(), args[0], args[1]))
		},
	}
}
