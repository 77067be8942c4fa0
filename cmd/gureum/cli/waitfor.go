package cli

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/gureum/gureum/fleet"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/vm"
)

// waitOptions say how far a guest must come before a command that starts it is done.
type waitOptions struct {
	stage   string
	timeout time.Duration
}

func (o *waitOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.stage, "wait-for", "", "wait until the guest has come to this `STAGE`: agent (its agent answers), ssh (its ssh server does) or cloud-init (it is done)")
	f.DurationVar(&o.timeout, "wait-timeout", comeUp, "how long --wait-for waits, a `DURATION`")
}

// check refuses what there is no such stage of.
func (o *waitOptions) check() error {
	switch state.Stage(o.stage) {
	case "", state.StageAgent, fleet.StageSSH, fleet.StageCloudInit:
	default:
		return &vm.InputError{Err: fmt.Errorf("wait-for %q: give agent, ssh or cloud-init", o.stage)}
	}
	if o.timeout <= 0 {
		return &vm.InputError{Err: fmt.Errorf("wait-timeout %s: give a positive duration", o.timeout)}
	}
	return nil
}

// wait waits. The machine stays, up or not.
func (o *waitOptions) wait(ctx context.Context, fl *fleet.Fleet, ref string) error {
	if o.stage == "" {
		return nil
	}
	return fl.AwaitStage(ctx, ref, state.Stage(o.stage), o.timeout)
}

// checkGuestWait looks at --wait of a command that waits for a guest. Where it is not given
// GUREUM_WAIT is: on a host on which guests start slowly, as on one that is a virtual machine
// itself, nobody should have to give it each time.
func checkGuestWait(f *pflag.FlagSet) error {
	flag := f.Lookup("wait")
	if flag == nil {
		return nil
	}
	name, text := "wait ", flag.Value.String()
	if env := os.Getenv("GUREUM_WAIT"); env != "" && !flag.Changed {
		name, text = "GUREUM_WAIT=", env
	}
	if d, err := time.ParseDuration(text); err != nil || d < 0 {
		return fmt.Errorf("%s%s: give a duration, such as 90s", name, text)
	}
	return flag.Value.Set(text)
}
