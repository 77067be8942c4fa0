package project

import (
	"context"
	"errors"
	"fmt"

	"github.com/gureum/gureum/fleet"
)

// Look finds what there is.
func Look(ctx context.Context, fl *fleet.Fleet) (Now, error) {
	networks, err := fl.Networks(ctx)
	if err != nil {
		return Now{}, err
	}
	machines, err := fl.List()
	return Now{networks, machines}, err
}

// Apply makes changes in their order and tells of each before it is made. It stops at
// the first that fails, after which the same file can be applied again.
func (f *File) Apply(ctx context.Context, fl *fleet.Fleet, changes []Change, tell func(Change)) error {
	for _, c := range changes {
		tell(c)
		if err := f.apply(ctx, fl, c); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
	}
	return nil
}

func (f *File) apply(ctx context.Context, fl *fleet.Fleet, c Change) error {
	switch c.Kind {
	case CreateNetwork:
		_, err := fl.CreateNetwork(ctx, f.Networks[c.Name].spec(c.Name))
		return err
	case RemoveNetwork:
		return fl.RemoveNetwork(ctx, c.Name)
	case RemoveMachine:
		return errors.Join(fl.Stop(ctx, c.Name, fleet.DefaultStop), fl.Remove(ctx, c.Name, true))
	case StartMachine:
		return fl.Start(ctx, c.Name, fleet.StartOptions{})
	case ChangeMachine:
		if err := fl.Stop(ctx, c.Name, fleet.DefaultStop); err != nil {
			return err
		}
		if err := fl.Redefine(ctx, c.Name, *f.Machines[c.Name]); err != nil {
			return err
		}
		return fl.Start(ctx, c.Name, fleet.StartOptions{})
	case CreateMachine:
		record, err := fl.Create(ctx, *f.Machines[c.Name])
		if err != nil {
			return err
		}
		if err := fl.Start(ctx, record.ID, fleet.StartOptions{}); err != nil {
			return errors.Join(err, fl.Remove(context.WithoutCancel(ctx), record.ID, true))
		}
	}
	return nil
}
