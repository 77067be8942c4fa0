package fleet

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gureum/gureum/fleet/state"
)

// cutRecord leaves half of a machine's record.
func cutRecord(t *testing.T, f *Fleet, id string) {
	t.Helper()
	path := filepath.Join(f.Dirs.VMDir(id), "vm.json")
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, st.Size()/2); err != nil {
		t.Fatal(err)
	}
}

// TestDamaged has half a record be in nobody's way but its own machine's, and says what
// to do.
func TestDamaged(t *testing.T) {
	f := testFleet(t)
	whole, cut := addMachine(t, f, "whole", nil), addMachine(t, f, "cut", nil)
	cutRecord(t, f, cut.ID)
	list, err := f.List()
	if len(list) != 1 || list[0].Name != "whole" {
		t.Errorf("the others: %v", list)
	}
	advice := "gureum rm -f " + cut.ID
	if err == nil || !strings.Contains(err.Error(), advice) {
		t.Errorf("List: %v, want the advice %q", err, advice)
	}
	machines, strays, err := f.Prunable()
	if len(machines)+len(strays) > 0 || err == nil || !strings.Contains(err.Error(), advice) {
		t.Errorf("Prunable: %v, %v, %v", machines, strays, err)
	}
	if busy, err := f.busyNetworks(""); err != nil {
		t.Errorf("networks in use: %v, %v", busy, err)
	}
	if err := f.writeHosts(""); err != nil {
		t.Errorf("hosts: %v", err)
	}
	if err := f.Remove(t.Context(), whole.ID, false); err != nil {
		t.Errorf("remove another: %v", err)
	}
	if err := f.Remove(t.Context(), cut.ID, false); err == nil || !strings.Contains(err.Error(), advice) {
		t.Errorf("remove it without force: %v", err)
	}
	if err := f.Remove(t.Context(), cut.ID, true); err != nil {
		t.Errorf("remove it: %v", err)
	}
	if _, err := f.List(); err != nil {
		t.Errorf("List after its removal: %v", err)
	}
	if _, err := os.Stat(f.Dirs.VMDir(cut.ID)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its folder: %v", err)
	}
}

// TestDamagedNetwork has half a record of a network keep nobody from removing machines, its
// own among them, and then itself.
func TestDamagedNetwork(t *testing.T) {
	f := testFleet(t)
	cut, whole := state.NewID(state.NetworkIDLength), state.NewID(state.NetworkIDLength)
	for id, name := range map[string]string{cut: "cut", whole: "whole"} {
		if err := f.Dirs.PutNetwork(&state.Network{ID: id, Name: name, Subnet: netip.MustParsePrefix("10.9.0.0/24")}); err != nil {
			t.Fatal(err)
		}
	}
	on := addMachine(t, f, "on", func(m *state.VM) { m.Ports = []state.Port{{Network: cut, MAC: "02:00:00:00:00:01"}} })
	if err := os.Truncate(filepath.Join(f.Dirs.State, "networks", cut+".json"), 20); err != nil {
		t.Fatal(err)
	}
	advice := "gureum network rm " + cut
	if _, err := f.Dirs.Networks(); err == nil || !strings.Contains(err.Error(), advice) {
		t.Errorf("networks: %v, want the advice %q", err, advice)
	}
	if _, err := f.Dirs.FindNetwork("whole"); err != nil {
		t.Errorf("find another: %v", err)
	}
	if err := f.RemoveNetwork(t.Context(), cut); err == nil || !strings.Contains(err.Error(), "gureum rm on") {
		t.Errorf("remove it with a machine on it: %v", err)
	}
	if err := f.Remove(t.Context(), on.ID, true); err != nil {
		t.Errorf("remove its machine: %v", err)
	}
	if err := f.RemoveNetwork(t.Context(), "../"+cut[:5]); !errors.Is(err, state.ErrNoNetwork) && !strings.Contains(err.Error(), advice) {
		t.Errorf("a path as an id: %v", err)
	}
	if err := f.RemoveNetwork(t.Context(), cut); err != nil {
		t.Errorf("remove it: %v", err)
	}
	if list, err := f.Dirs.Networks(); err != nil || len(list) != 1 {
		t.Errorf("left: %v, %v", list, err)
	}
}

// TestDamagedThatLives keeps what a machine may need whose record cannot be read: all
// networks stay, and the switch as it is.
func TestDamagedThatLives(t *testing.T) {
	f := testFleet(t)
	cut := addMachine(t, f, "cut", nil)
	n := &state.Network{ID: "0123abcd", Name: "yard"}
	if err := f.Dirs.PutNetwork(n); err != nil {
		t.Fatal(err)
	}
	process := startFake(t, f, cut.ID)
	cutRecord(t, f, cut.ID)
	busy, err := f.busyNetworks("")
	if err != nil || !busy[n.ID] {
		t.Errorf("networks in use: %v, %v", busy, err)
	}
	if _, err := f.wanted(); err == nil {
		t.Error("what is wanted of the switch is known")
	}
	if err := f.Remove(t.Context(), cut.ID, true); err != nil {
		t.Fatal(err)
	}
	if err := process.Wait(); err != nil {
		t.Errorf("its process: %v", err)
	}
	if busy, err := f.busyNetworks(""); err != nil || busy[n.ID] {
		t.Errorf("networks in use after its removal: %v, %v", busy, err)
	}
}

// TestTidy removes what a command leaves that is killed while it makes or removes a
// network, and nothing else.
func TestTidy(t *testing.T) {
	f := testFleet(t)
	n := &state.Network{ID: "0123abcd", Name: "yard"}
	if err := f.Dirs.PutNetwork(n); err != nil {
		t.Fatal(err)
	}
	machine := addMachine(t, f, "m", nil)
	half := filepath.Join(f.Dirs.State, "networks", ".new-0000ffff.json.123")
	record := filepath.Join(f.Dirs.VMDir(machine.ID), ".new-vm.json.123")
	for _, path := range []string{half, record} {
		if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{n.ID, "0000ffff"} {
		if err := os.MkdirAll(f.Dirs.NetworkRun(id), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{half, record, f.Dirs.NetworkRun("0000ffff")} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	if _, err := os.Stat(f.Dirs.NetworkRun(n.ID)); err != nil {
		t.Errorf("a network's folder: %v", err)
	}
	if _, err := f.Dirs.FindNetwork("yard"); err != nil {
		t.Error(err)
	}
}
