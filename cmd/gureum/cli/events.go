package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/fleet"
)

func newEventsCommand(s Streams) *cobra.Command {
	var o fleet.EventOptions
	var form outputForm
	var since string
	cmd := &cobra.Command{
		Use:   "events [MACHINE]",
		Short: "Tell what happened to machines",
		Long: `Events tells what happened to the machines that there are, from their journals: create,
start, stage (how far the guest came), pause, resume, end, lost (the process was killed)
and restart. With -f it goes on with what happens from now on, "remove" included; with
-f and --since, with what happened since then first.`,
		Example: "  gureum events\n  gureum events -f\n  gureum events --since 1h web\n  gureum events -f -o json | jq -r 'select(.event == \"end\").name'",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			now := time.Now()
			if o.Since, err = parseSince(since, now); err != nil {
				return err
			}
			if o.Follow && since == "" {
				o.Since = now
			}
			fl, err := openFleet()
			if err != nil {
				return err
			}
			if len(args) > 0 {
				m, err := fl.Get(args[0])
				if err != nil {
					return fleetError(err)
				}
				o.Machine = m.ID
			}
			return fleetError(following(cmd.Context(), func(ctx context.Context) error {
				return fl.Events(ctx, o, func(e fleet.Event) error {
					return form.printLine(s.Out, e, func(w io.Writer) error { return printEvent(w, e) })
				})
			}))
		},
	}
	addOutputFlag(cmd.Flags(), &form, "table")
	cmd.Flags().BoolVarP(&o.Follow, "follow", "f", false, "go on with what happens from now on")
	cmd.Flags().StringVar(&since, "since", "", "only what happened since this `TIME`: 10m ago, as 10m, or 2006-01-02T15:04:05Z")
	return cmd
}

// parseSince reads a duration before now, or a time of RFC 3339 with or without its
// smaller parts.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("since %q: give a duration, as 10m, or a time, as %s", text, now.Format(time.RFC3339))
}

func printEvent(w io.Writer, e fleet.Event) error {
	var more []string
	add := func(name string, value any, is bool) {
		if is {
			more = append(more, fmt.Sprintf("%s=%v", name, value))
		}
	}
	add("pid", e.PID, e.PID != 0)
	add("stage", e.Stage, e.Stage != "")
	add("reason", fmt.Sprintf("%q", e.Reason), e.Reason != "")
	if e.Status != nil {
		add("status", *e.Status, true)
	}
	add("error", fmt.Sprintf("%q", e.Error), e.Error != "")
	line := fmt.Sprintf("%s %s %s %s %s", e.Time.Local().Format("2006-01-02T15:04:05.000Z07:00"), e.ID, e.Name, e.Event, strings.Join(more, " "))
	_, err := fmt.Fprintln(w, strings.TrimRight(line, " "))
	return err
}
