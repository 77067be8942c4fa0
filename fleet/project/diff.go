package project

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/gureum/gureum/fleet"
	"github.com/gureum/gureum/fleet/state"
)

// Change is one thing to be done.
type Change struct {
	Kind Kind
	// Name is of a machine, or of a network for CreateNetwork and RemoveNetwork.
	Name string
}

// Kind is what is to be done.
type Kind string

// The kinds of changes, in the order in which they are made.
const (
	CreateNetwork Kind = "create network"
	RemoveMachine Kind = "remove machine"
	CreateMachine Kind = "create machine"
	ChangeMachine Kind = "change machine" // its definition: it is stopped and started again
	StartMachine  Kind = "start machine"
	RemoveNetwork Kind = "remove network"
)

// String says it to people.
func (c Change) String() string { return string(c.Kind) + " " + c.Name }

// Now is what there is on the host.
type Now struct {
	Networks []*state.Network
	Machines []*fleet.Machine
}

// Diff finds what has to be done to have what the file says, and nothing more. Machines
// of the project that the file no longer has are orphans, which are removed if prune
// says so. Errors are the user's.
func (f *File) Diff(now Now, prune bool) (changes []Change, orphans []string, err error) {
	for _, name := range slices.Sorted(maps.Keys(f.Networks)) {
		missing, err := f.diffNetwork(now, name)
		if err != nil {
			return nil, nil, err
		}
		if missing {
			changes = append(changes, Change{CreateNetwork, name})
		}
	}
	have := map[string]*fleet.Machine{}
	for _, m := range now.Machines {
		have[m.Name] = m
		if f.owns(m) && f.Machines[m.Name] == nil {
			orphans = append(orphans, m.Name)
		}
	}
	if prune {
		for _, name := range orphans {
			changes = append(changes, Change{RemoveMachine, name})
		}
		orphans = nil
	}
	for _, name := range slices.Sorted(maps.Keys(f.Machines)) {
		kind, err := f.diffMachine(have[name], name)
		if err != nil {
			return nil, nil, err
		}
		if kind != "" {
			changes = append(changes, Change{kind, name})
		}
	}
	slices.SortStableFunc(changes, func(a, b Change) int { return order(a.Kind) - order(b.Kind) })
	return changes, orphans, nil
}

func order(k Kind) int {
	return slices.Index([]Kind{CreateNetwork, RemoveMachine, CreateMachine, ChangeMachine, StartMachine, RemoveNetwork}, k)
}

// diffNetwork compares a network. One whose properties changed cannot be had while
// machines are on it, so that is left to the user.
func (f *File) diffNetwork(now Now, name string) (missing bool, err error) {
	i := slices.IndexFunc(now.Networks, func(n *state.Network) bool { return n.Name == name })
	if i < 0 {
		return true, nil
	}
	want, have := f.Networks[name], now.Networks[i]
	same := want.Internal == have.Internal && want.Isolated == have.Isolated && want.HostAccess == have.HostAccess && want.Shielded == have.Shielded &&
		(want.Subnet == "" || want.Subnet == have.Subnet.String()) &&
		(want.MTU == 0 || want.MTU == have.MTU) &&
		(want.IPv6 == "" || want.IPv6 == have.Subnet6.String() || want.IPv6 == "none" && !have.Subnet6.IsValid())
	if !same {
		return false, fmt.Errorf("network %s is there with other properties: remove it first (gureum down, gureum network rm %s), or give this one another name", name, name)
	}
	return false, nil
}

func (f *File) diffMachine(have *fleet.Machine, name string) (Kind, error) {
	switch {
	case have == nil:
		return CreateMachine, nil
	case !f.owns(have):
		return "", fmt.Errorf("machine %s is there, and not of project %s: remove it, or give this one another name", name, f.Name)
	case !equal(have.Spec, *f.Machines[name]):
		return ChangeMachine, nil
	case have.Phase != state.Running && have.Phase != state.Paused:
		return StartMachine, nil
	}
	return "", nil
}

// owns tells whether a machine belongs to the project.
func (f *File) owns(m *fleet.Machine) bool {
	return slices.Contains(m.Spec.Label, Label+"="+f.Name)
}

// equal compares definitions as they are written: an empty list is none.
func equal(a, b Machine) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// Undo finds what has to be done so that nothing of the project is left.
func (f *File) Undo(now Now) []Change {
	var changes []Change
	for _, m := range now.Machines {
		if f.owns(m) {
			changes = append(changes, Change{RemoveMachine, m.Name})
		}
	}
	for _, n := range now.Networks {
		if f.Networks[n.Name] != nil {
			changes = append(changes, Change{RemoveNetwork, n.Name})
		}
	}
	return changes
}
