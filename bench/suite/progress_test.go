package suite

import (
	"testing"
	"time"

	"github.com/gureum/gureum/bench/boot"
	"github.com/gureum/gureum/bench/footprint"
)

// TestPlan goes through two groups, of which the first ends early: what is done never goes back,
// nor past the end.
func TestPlan(t *testing.T) {
	r := testRun(t, fakeVMM)
	r.Groups = []string{boot.Group, footprint.Group}
	p := r.newPlan()
	boots := r.bootConfig(r.bootCases()).Steps()
	if want := time.Duration(boots)*lasts(boot.Group) + time.Duration(r.Runs+1)*lasts(footprint.Group); p.all != want || p.groups[boot.Group] != boots {
		t.Fatalf("%+v, want %v for all", p, want)
	}
	p.enter(boot.Group)
	for n := range 3 {
		if done, all := p.next(); done != n*int(lasts(boot.Group).Milliseconds()) || all != int(p.all.Milliseconds()) {
			t.Errorf("step %d: %d of %d", n, done, all)
		}
	}
	p.enter(footprint.Group)
	if done, _ := p.next(); done != boots*int(lasts(boot.Group).Milliseconds()) {
		t.Errorf("%d is done when the second group begins", done)
	}
	for range 2 * (r.Runs + 1) {
		p.next()
	}
	if done, all := p.next(); done != all {
		t.Errorf("%d of %d after more steps than planned", done, all)
	}
}
