package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/fleet"
	"github.com/gureum/gureum/fleet/state"
)

// addCompletions has shells complete the names of machines and networks.
func addCompletions(root *cobra.Command) {
	alive := func(m *fleet.Machine) bool { return m.Phase == state.Running }
	paused := func(m *fleet.Machine) bool { return m.Phase == state.Paused }
	up := func(m *fleet.Machine) bool { return alive(m) || paused(m) }
	down := func(m *fleet.Machine) bool { return !up(m) }
	all := func(*fleet.Machine) bool { return true }
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "start":
			cmd.ValidArgsFunction = completeMachines(-1, down)
		case "stop", "kill":
			cmd.ValidArgsFunction = completeMachines(-1, up)
		case "pause", "stats", "update":
			cmd.ValidArgsFunction = completeMachines(-1, alive)
		case "resume":
			cmd.ValidArgsFunction = completeMachines(-1, paused)
		case "rm", "restart", "wait", "inspect":
			cmd.ValidArgsFunction = completeMachines(-1, all)
		case "exec", "ssh", "attach":
			cmd.ValidArgsFunction = completeMachines(1, alive)
		case "cp":
			cmd.ValidArgsFunction = completeCopy(completeMachines(-1, alive))
		case "logs", "rename", "events":
			cmd.ValidArgsFunction = completeMachines(1, all)
		case "network":
			addNetworkCompletions(cmd)
		}
		if cmd.Flags().Lookup("net") != nil {
			_ = cmd.RegisterFlagCompletionFunc("net", completeNetworkFlag) // it is there
		}
	}
}

// completeCopy completes MACHINE: and files.
func completeCopy(machines cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begin string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 1 || strings.ContainsAny(begin, "/:.") {
			return nil, cobra.ShellCompDirectiveDefault
		}
		names, _ := machines(cmd, nil, begin)
		for i, name := range names {
			word, description, _ := strings.Cut(name, "\t")
			names[i] = cobra.CompletionWithDesc(word+":", description)
		}
		return names, cobra.ShellCompDirectiveNoSpace
	}
}

// completeMachines completes names of machines, in the first most arguments (all, if
// that is negative); those that are there already are left out.
func completeMachines(most int, want func(*fleet.Machine) bool) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, begin string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if most >= 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveDefault // of a command in the guest, or none
		}
		fl, err := openFleet()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		list, _ := fl.List() // those that can be read
		var out []cobra.Completion
		for _, m := range list {
			if want(m) && !slices.Contains(args, m.Name) && strings.HasPrefix(m.Name, begin) {
				out = append(out, cobra.CompletionWithDesc(m.Name, string(m.Phase)))
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

func addNetworkCompletions(network *cobra.Command) {
	for _, cmd := range network.Commands() {
		switch cmd.Name() {
		case "inspect", "rm":
			cmd.ValidArgsFunction = completeNetworks(-1)
		case "connect", "disconnect":
			cmd.ValidArgsFunction = completeNetworkMachine
		}
	}
}

// completeNetworks completes names of networks, as completeMachines does of machines.
func completeNetworks(most int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, begin string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if most >= 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		fl, err := openFleet()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		list, _ := fl.Dirs.Networks() // those that can be read
		var out []cobra.Completion
		for _, n := range list {
			if !slices.Contains(args, n.Name) && strings.HasPrefix(n.Name, begin) {
				out = append(out, cobra.CompletionWithDesc(n.Name, n.Subnet.String()))
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeNetworkMachine completes a network and a machine.
func completeNetworkMachine(cmd *cobra.Command, args []string, begin string) ([]cobra.Completion, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return completeNetworks(-1)(cmd, nil, begin)
	case 1:
		return completeMachines(-1, func(*fleet.Machine) bool { return true })(cmd, nil, begin)
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// completeNetworkFlag completes what --net begins with.
func completeNetworkFlag(cmd *cobra.Command, _ []string, begin string) ([]cobra.Completion, cobra.ShellCompDirective) {
	out, directive := completeNetworks(-1)(cmd, nil, begin)
	for _, kind := range []string{"user", "tap:"} {
		if strings.HasPrefix(kind, begin) {
			out = append(out, kind)
		}
	}
	return out, directive | cobra.ShellCompDirectiveNoSpace
}
