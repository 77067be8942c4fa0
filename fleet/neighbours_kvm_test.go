package fleet

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gureum/gureum/fleet/state"
)

// It runs in the lab, as it leaves a note in the host's own folder.
func TestKVMNeighbours(t *testing.T) {
	base := t.TempDir()
	first := &Fleet{Dirs: state.Dirs{State: filepath.Join(base, "s1"), Run: filepath.Join(base, "r1")}}
	second := &Fleet{Dirs: state.Dirs{State: filepath.Join(base, "s2"), Run: filepath.Join(base, "r2")}}
	for _, f := range []*Fleet{first, second, first} {
		if err := f.Dirs.Make(); err != nil {
			t.Fatal(err)
		}
		if err := f.announce(); err != nil {
			t.Fatal(err)
		}
	}
	has := func(want ...*Fleet) bool {
		t.Helper()
		all, err := neighbours()
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, f := range all {
			for _, w := range want {
				if f.Dirs == w.Dirs {
					found++
				}
			}
		}
		return found == len(want)
	}
	if !has(first, second) {
		t.Error("a fleet that left a note is not found, or twice")
	}
	if err := os.RemoveAll(second.Dirs.Run); err != nil {
		t.Fatal(err)
	}
	if !has(first) || has(second) {
		t.Error("a fleet that is gone is found")
	}
	if err := os.RemoveAll(first.Dirs.Run); err != nil {
		t.Fatal(err)
	}
	if has(first) {
		t.Error("a fleet that is gone is found")
	}
}
