package fleet

import (
	"time"

	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/vm"
)

// verdict is what is to be done about a machine that has ended though it was wanted to
// run.
type verdict int

const (
	settle  verdict = iota // it has ended, and that was that
	restart                // start it again
	later                  // start it again, but not yet
	remove                 // it was wanted for one run
)

// How long the supervisor waits before it starts a machine again that ends all the time:
// twice as long each time, and not at all for one that has run for a while.
const (
	firstDelay = 100 * time.Millisecond
	lastDelay  = time.Minute
	ranWell    = 10 * time.Second
)

// judge decides about a machine that has ended.
func judge(record *state.VM, plan *spec.Plan, status state.Status, now time.Time) verdict {
	if !due(record, plan.Restart, status) {
		if record.Spec.Rm {
			return remove
		}
		return settle
	}
	if now.Sub(status.Ended) < delay(record.Restarts, status) {
		return later
	}
	return restart
}

// due tells whether a machine is to be started again: when its guest asked for that,
// as by reboot, or when its policy says so.
func due(record *state.VM, r spec.Restart, status state.Status) bool {
	if status.Reason == vm.Rebooted.String() && !record.Spec.NoReboot {
		return true
	}
	switch r.Policy {
	case spec.RestartAlways:
		return true
	case spec.RestartOnFailure:
		return status.Status() != 0 && (r.Max == 0 || record.Restarts < r.Max)
	}
	return false
}

func delay(restarts int, status state.Status) time.Duration {
	if restarts == 0 || status.Ended.Sub(status.Started) > ranWell {
		return 0
	}
	return min(firstDelay<<min(restarts-1, 20), lastDelay)
}
