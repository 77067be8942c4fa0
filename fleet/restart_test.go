package fleet

import (
	"testing"
	"time"

	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/fleet/state"
)

func TestJudge(t *testing.T) {
	now := time.Now()
	ended := func(reason string, exit int, ran, ago time.Duration) state.Status {
		return state.Status{
			Phase: state.Exited, Reason: reason, ExitStatus: &exit,
			Started: now.Add(-ago - ran), Ended: now.Add(-ago),
		}
	}
	lost := state.Status{Phase: state.Lost, Started: now.Add(-time.Hour), Ended: now}
	for name, c := range map[string]struct {
		spec     spec.Spec
		restarts int
		status   state.Status
		want     verdict
	}{
		"ended":                       {spec.Spec{}, 0, ended("poweroff", 0, time.Hour, 0), settle},
		"for one run":                 {spec.Spec{Rm: true}, 0, ended("poweroff", 3, time.Hour, 0), remove},
		"rebooted":                    {spec.Spec{}, 0, ended("reboot", 0, time.Hour, 0), restart},
		"rebooted, for one run":       {spec.Spec{Rm: true}, 5, ended("reboot", 0, time.Hour, 0), restart},
		"rebooted, unwanted":          {spec.Spec{NoReboot: true}, 0, ended("reboot", 0, time.Hour, 0), settle},
		"always, ended well":          {spec.Spec{Restart: "always"}, 0, ended("poweroff", 0, time.Hour, 0), restart},
		"always, lost":                {spec.Spec{Restart: "always"}, 9, lost, restart},
		"no policy, lost":             {spec.Spec{}, 0, lost, settle},
		"on failure, ended well":      {spec.Spec{Restart: "on-failure"}, 0, ended("poweroff", 0, time.Hour, 0), settle},
		"on failure, failed":          {spec.Spec{Restart: "on-failure"}, 3, ended("poweroff", 1, time.Hour, 0), restart},
		"on failure, panicked":        {spec.Spec{Restart: "on-failure"}, 0, ended("panic", 125, time.Hour, 0), restart},
		"on failure, lost":            {spec.Spec{Restart: "on-failure:1"}, 0, lost, restart},
		"on failure, once too often":  {spec.Spec{Restart: "on-failure:2"}, 2, ended("poweroff", 1, time.Hour, 0), settle},
		"fails at once, first time":   {spec.Spec{Restart: "always"}, 0, ended("panic", 125, time.Second, 0), restart},
		"fails at once, again":        {spec.Spec{Restart: "always"}, 1, ended("panic", 125, time.Second, 0), later},
		"fails at once, after a wait": {spec.Spec{Restart: "always"}, 1, ended("panic", 125, time.Second, 150*time.Millisecond), restart},
		"fails all the time":          {spec.Spec{Restart: "always"}, 100, ended("panic", 125, time.Second, 59*time.Second), later},
		"fails all the time, a wait":  {spec.Spec{Restart: "always"}, 100, ended("panic", 125, time.Second, 61*time.Second), restart},
	} {
		plan, err := c.spec.Plan()
		if err != nil {
			t.Fatal(err)
		}
		if got := judge(&state.VM{Spec: c.spec, Restarts: c.restarts}, plan, c.status, now); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
