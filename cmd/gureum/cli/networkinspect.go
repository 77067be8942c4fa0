package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/fleet"
	"github.com/gureum/gureum/vm/hostcheck"
)

// networkDetails are a network, and what of the host keeps it from working.
type networkDetails struct {
	*fleet.NetworkView
	Advice []string `json:"advice"`
}

func newNetworkInspectCommand(s Streams) *cobra.Command {
	var form outputForm
	cmd := &cobra.Command{
		Use:   "inspect NETWORK...",
		Short: "Show what is known of networks, and who is on them",
		Long: `Inspect shows what networks are and which machines are on them. Run by root it also
says what of this host is in their way, such as a firewall, and what to do about it.`,
		Example: "  gureum network inspect default\n  gureum network inspect -o table backend\n" +
			"  gureum network inspect -o 'go-template={{range .machines}}{{.name}} {{.ip}} {{end}}' backend",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			fl, err := openFleet()
			if err != nil {
				return err
			}
			advice := []string{}
			obstacles, err := fleet.HostAdvice()
			if err != nil {
				fmt.Fprintf(s.Err, "gureum: what is in the networks' way cannot be told: %v\n", err)
			}
			for _, o := range obstacles {
				advice = append(advice, o.String())
			}
			all := []networkDetails{}
			var errs []error
			for _, ref := range args {
				view, err := fl.InspectNetwork(cmd.Context(), ref)
				if view != nil {
					all = append(all, networkDetails{view, advice})
				}
				errs = append(errs, err)
			}
			err = form.print(s.Out, all, func(w io.Writer) error { return printNetworkDetails(w, all) })
			return errors.Join(err, fleetError(errors.Join(errs...)))
		},
	}
	addOutputFlag(cmd.Flags(), &form, "json")
	return cmd
}

// printNetworkDetails tells people of networks.
func printNetworkDetails(w io.Writer, all []networkDetails) error {
	return printEach(w, all, func(d networkDetails, row func(name, value string)) {
		row("name", d.Name)
		row("id", d.ID)
		row("kind", networkKind(d.Network))
		row("created", d.Created.Format(time.RFC3339))
		row("subnet", fmt.Sprintf("%s, gateway %s", d.Subnet, d.Gateway))
		if d.Subnet6.IsValid() {
			row("IPv6", fmt.Sprintf("%s, gateway %s", d.Subnet6, d.Gateway6))
		}
		row("MTU", fmt.Sprint(d.MTU))
		row("bridge", d.Bridge)
		for _, m := range d.Machines {
			text := fmt.Sprintf("%s %s %s", m.Name, m.MAC, m.IP)
			if m.IP6.IsValid() {
				text += " " + m.IP6.String()
			}
			row("machine", text)
		}
		for _, text := range d.Advice {
			row("in the way", text)
		}
	})
}

// networkFindings are the doctor's of what is in the way of networks.
func networkFindings() []hostcheck.Finding {
	const check = "networks"
	obstacles, err := fleet.HostAdvice()
	if err != nil {
		return []hostcheck.Finding{{Check: check, Status: hostcheck.Warning, Detail: "what is in their way cannot be told: " + err.Error()}}
	}
	if len(obstacles) == 0 {
		detail := "nothing of this host is in their way"
		if os.Geteuid() != 0 {
			detail = "in user space, each machine's its own: those on the virtual switch need root"
		}
		return []hostcheck.Finding{{Check: check, Status: hostcheck.OK, Detail: detail}}
	}
	var findings []hostcheck.Finding
	for _, o := range obstacles {
		findings = append(findings, hostcheck.Finding{Check: check, Status: hostcheck.Warning, Detail: o.What, Fix: o.Mend})
	}
	return findings
}
