package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/fleet"
	"github.com/gureum/gureum/fleet/api"
	"github.com/gureum/gureum/fleet/spec"
)

// updateOptions are the flags of gureum update.
type updateOptions struct {
	balloon     spec.Size
	limits      spec.Spec
	disks, nics []string
	diskLimits  []spec.DeviceLimit
	nicLimits   []spec.DeviceLimit
}

// newUpdateCommand changes machines as they are.
func newUpdateCommand(s Streams) *cobra.Command {
	o := &updateOptions{}
	var cmd *cobra.Command
	cmd = eachNamed(s, &cobra.Command{
		Use:   "update MACHINE...",
		Short: "Change machines that run",
		Long: `Update changes machines while they run. --balloon takes memory from the guest, or gives
it back; the guest does so at its own pace: see gureum stats. --disk-limit and --net-limit
change the limits of its devices: of one with its number, from 0 on, in front, else of all.
These are not kept for the next start.

The limits of its process are kept, and may be changed of machines that do not run; an
empty value takes one away.`,
		Example: "  gureum update --balloon 512M web\n  gureum update --balloon 0 web\n" +
			"  gureum update --disk-limit 0,bps=20M,iops=500 --net-limit bps=10M web\n  gureum update --disk-limit bps=0 web\n" +
			"  gureum update --cpu-limit 0.5 --memory-limit 2G web db\n  gureum update --cpu-limit '' web",
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().NFlag() == 0 {
				return errors.New("nothing to change: give --balloon or a limit")
			}
			return o.parse()
		},
	}, func(ctx context.Context, fl *fleet.Fleet, ref string) error { return o.update(ctx, cmd, fl, ref) })
	f := cmd.Flags()
	f.Var(&o.balloon, "balloon", "how much memory to take from the guest")
	f.StringArrayVar(&o.disks, "disk-limit", nil, "let a disk, or each, do so much: `[NUMBER,]bps=SIZE,iops=N`, bytes and requests a second; repeatable")
	f.StringArrayVar(&o.nics, "net-limit", nil, "let an interface, or each, receive and send so much: `[NUMBER,]bps=SIZE,pps=N`, bytes and packets a second; repeatable")
	addLimitFlags(f, &o.limits)
	return cmd
}

func (o *updateOptions) parse() error {
	for _, text := range o.disks {
		l, err := spec.ParseDeviceLimit(text, "iops")
		if err != nil {
			return fmt.Errorf("disk-limit: %w", err)
		}
		o.diskLimits = append(o.diskLimits, l)
	}
	for _, text := range o.nics {
		l, err := spec.ParseDeviceLimit(text, "pps")
		if err != nil {
			return fmt.Errorf("net-limit: %w", err)
		}
		o.nicLimits = append(o.nicLimits, l)
	}
	return nil
}

func (o *updateOptions) update(ctx context.Context, cmd *cobra.Command, fl *fleet.Fleet, ref string) error {
	if cmd.Flags().Changed("balloon") {
		bytes := uint64(o.balloon)
		if err := fl.Update(ctx, ref, api.Update{Balloon: &bytes}); err != nil {
			return err
		}
	}
	if len(o.diskLimits)+len(o.nicLimits) > 0 {
		if err := fl.LimitDevices(ctx, ref, o.diskLimits, o.nicLimits); err != nil {
			return err
		}
	}
	if !limitChanged(cmd.Flags()) {
		return nil
	}
	return fl.Limit(ctx, ref, func(to *spec.Spec) { copyLimits(cmd.Flags(), to, &o.limits) })
}
