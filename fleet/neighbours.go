package fleet

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/net/vswitch"
)

// A host has one switch, and may have several fleets of root's, each with folders of its
// own. What one of them repairs must not take the others' machines from their networks, so
// each leaves a note on where it is before it plugs in its first machine.

func notesDir() string { return filepath.Join(state.HostRun, "fleets") }

// announce leaves the note. The switch's lock is held.
func (f *Fleet) announce() error {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\x00%s", f.Dirs.State, f.Dirs.Run)
	path := filepath.Join(notesDir(), fmt.Sprintf("%016x.json", h.Sum64()))
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(notesDir(), 0o700); err != nil {
		return err
	}
	return state.Write(path, f.Dirs)
}

// neighbours are the fleets that have left a note and are still there. The switch's lock
// is held.
func neighbours() ([]*Fleet, error) {
	notes, err := filepath.Glob(filepath.Join(notesDir(), "*.json"))
	if err != nil {
		return nil, err
	}
	var all []*Fleet
	for _, note := range notes {
		other := &Fleet{}
		if err := state.Read(note, &other.Dirs); err != nil {
			return nil, err
		}
		if _, err := os.Stat(other.Dirs.Run); errors.Is(err, fs.ErrNotExist) {
			if err := os.Remove(note); err != nil {
				return nil, err
			}
			continue
		}
		all = append(all, other)
	}
	return all, nil
}

// wantedByAll is what the host's switch shall be for all fleets. The switch's lock is
// held.
func wantedByAll() (vswitch.State, error) {
	var want vswitch.State
	all, err := neighbours()
	if err != nil {
		return want, err
	}
	for _, f := range all {
		w, err := f.wanted()
		if err != nil {
			return want, fmt.Errorf("the machines in %s: %w", f.Dirs.State, err)
		}
		want.Networks = append(want.Networks, w.Networks...)
		want.Ports = append(want.Ports, w.Ports...)
		want.Unplugged = append(want.Unplugged, w.Unplugged...)
	}
	return want, nil
}
