package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gureum/gureum/fleet"
	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/vm"
)

// ofFleet tells whether the machine needs the fleet: for a network, or for limits. One in
// the foreground is then a machine of the fleet as well, for as long as this command lives.
func (o *runOptions) ofFleet() (bool, error) {
	plan, err := o.spec.Plan()
	if err != nil {
		return false, err
	}
	return len(plan.Ports)+len(plan.Publish) > 0 || plan.Limits != (spec.Limits{}), nil
}

// comeUp is how long a guest may take until its agent answers.
const comeUp = 5 * time.Minute

// runLeashed runs a machine of the fleet that ends with this command, and a command or a
// shell in it.
func (o *runOptions) runLeashed(ctx context.Context, s Streams) (err error) {
	if err := o.checkLeashed(); err != nil {
		return &vm.InputError{Err: err}
	}
	fl, err := openFleet()
	if err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	o.spec.Anchor(dir)
	command := execOptions{interactive: true, tty: isTerminal(s), env: o.spec.Env, dir: o.spec.Workdir, wait: comeUp}
	args := o.spec.Command
	if len(args) == 0 {
		args = []string{"/bin/sh", "-l"}
	}
	o.spec.Command, o.spec.Env, o.spec.Workdir = nil, nil, ""
	o.spec.Rm = true // if this process cannot
	record, err := fl.Create(ctx, o.spec)
	if err != nil {
		return err
	}
	after := context.WithoutCancel(ctx)
	defer func() {
		left := errors.Join(fl.Stop(after, record.ID, powerOffGrace), removeQuietly(after, fl, record.ID))
		if left != nil {
			err = errors.Join(err, fmt.Errorf("end the machine: %w", left))
		}
	}()
	leash, hold, err := os.Pipe()
	if err != nil {
		return err
	}
	defer hold.Close()
	err = fl.Start(ctx, record.ID, fleet.StartOptions{Leash: leash})
	if err = errors.Join(err, leash.Close()); err != nil {
		return err
	}
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.timeout, errTimeout)
		defer cancel()
	}
	err = command.run(ctx, s, fl, record.ID, args)
	if errors.Is(context.Cause(ctx), errTimeout) {
		return &statusError{StatusTimeout, errTimeout}
	}
	return err
}

// checkLeashed refuses what a machine of the fleet cannot have in the foreground.
func (o *runOptions) checkLeashed() error {
	switch s := &o.spec; {
	case s.CPUs == 0:
		return errNoCPUs
	case o.console != "auto":
		return errors.New("console: that of a machine on a network or with limits is logged: leave it out, or give --detach and see gureum logs")
	case o.json:
		return errors.New("json: not with a machine on a network or with limits: leave it out")
	case s.Restart != "":
		return errors.New("restart is for machines in the background: give --detach")
	}
	return nil
}

// removeQuietly removes a machine that the supervisor may have removed already.
func removeQuietly(ctx context.Context, fl *fleet.Fleet, id string) error {
	err := fl.Remove(ctx, id, true)
	if isGone(err) {
		return nil
	}
	return err
}
