package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/fleet"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/vm"
)

func newInspectCommand(s Streams) *cobra.Command {
	var form outputForm
	cmd := &cobra.Command{
		Use:   "inspect MACHINE...",
		Short: "Show all that is known of machines",
		Long: `Inspect shows what machines are, what they were asked to be, and what their processes
and guests tell of themselves. A process that does not answer within 4 s is told of as
well, without that part.`,
		Example: "  gureum inspect web\n  gureum inspect -o yaml web\n  gureum inspect -o 'go-template={{(index .ports 0).ip}}' web",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			fl, err := openFleet()
			if err != nil {
				return err
			}
			all := []*fleet.Details{}
			var errs []error
			for _, ref := range args {
				d, err := fl.Inspect(cmd.Context(), ref)
				if err != nil {
					errs = append(errs, err)
					continue
				}
				all = append(all, d)
			}
			err = form.print(s.Out, all, func(w io.Writer) error { return printDetails(w, all) })
			return errors.Join(err, fleetError(errors.Join(errs...)))
		},
	}
	addOutputFlag(cmd.Flags(), &form, "json")
	return cmd
}

// printEach tells people of each of some things, in rows with a name. A row without a value
// is left out.
func printEach[T any](w io.Writer, all []T, rows func(thing T, row func(name, value string))) error {
	for i, thing := range all {
		if i > 0 {
			fmt.Fprintln(w)
		}
		table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		rows(thing, func(name, value string) {
			if value != "" {
				fmt.Fprintf(table, "%s\t%s\n", name, value)
			}
		})
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// printDetails tells people of machines.
func printDetails(w io.Writer, all []*fleet.Details) error {
	return printEach(w, all, func(d *fleet.Details, row func(name, value string)) {
		row("name", d.Name)
		row("id", d.ID)
		row("status", statusText(d.Status, time.Now()))
		row("reason", d.Reason)
		row("error", d.Error)
		row("process", d.LiveError)
		row("created", d.Created.Format(time.RFC3339))
		row("boots", imageText(d.Machine))
		row("command", strings.Join(d.Spec.Command, " "))
		row("CPUs", fmt.Sprint(max(d.Spec.CPUs, 1)))
		row("memory", d.Spec.Memory)
		row("restart", d.Spec.Restart)
		row("labels", strings.Join(d.Spec.Label, ", "))
		row("published", strings.Join(d.Spec.Publish, ", "))
		for _, port := range d.Ports {
			row("interface", portText(port))
		}
		for _, u := range d.Unplugged {
			row("unplugged", portText(u.Port))
		}
		rowsOfLive(d, row)
		row("folder", d.Dir)
	})
}

func portText(p state.Port) string {
	text := fmt.Sprintf("%s %s on network %s", p.MAC, p.IP, p.Network)
	if p.IP6.IsValid() {
		text += " " + p.IP6.String()
	}
	return text
}

func rowsOfLive(d *fleet.Details, row func(name, value string)) {
	if d.Live == nil {
		return
	}
	row("PID", fmt.Sprint(d.PID))
	row("release", d.Live.Release)
	for _, disk := range d.Live.Disks {
		row("disk", disk.ID+" "+disk.Path+" "+vm.FormatSize(disk.Size))
	}
	g := d.Live.Guest
	if g == nil {
		return
	}
	row("host name", fleet.Printable(g.Hostname))
	row("guest kernel", fleet.Printable(g.Kernel))
	row("guest memory", fmt.Sprintf("%s of %s available", sizeText(g.Available), sizeText(g.Total)))
	row("addresses", strings.Join(g.Addresses, ", "))
}
