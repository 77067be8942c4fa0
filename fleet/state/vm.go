package state

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gureum/gureum/fleet/spec"
)

// VM is the record of a machine.
type VM struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Spec    spec.Spec `json:"spec"`
	// Ports are its interfaces on networks of the fleet, in the order of Spec.Net.
	Ports []Port `json:"ports,omitempty"`
	// Unplugged are those that it has only until its process ends.
	Unplugged []Unplugged `json:"unplugged,omitempty"`
	// Want is what the user wants it to be, now and after a reboot of the host.
	Want Want `json:"want"`
	// Restarts counts how often it was started again since the user started it.
	Restarts int `json:"restarts,omitempty"`
}

// firstUID and uidBits are the range of machines' users: nobody gives out numbers of it
// (systemd's UIDS-GIDS, "Summary": containers' end at 1879048191, the kernel's own begin
// behind 2147352575).
const (
	firstUID = 0x7000_0000
	uidBits  = 27
)

// UID is the user and group that the machine's process becomes when root starts it. It
// follows from the id, so no two machines share one but by a chance of 1 in 134 million,
// whichever folders their records are in, and a removed machine's does not come back soon.
func (vm *VM) UID() int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(vm.ID)) // never fails
	return firstUID + int(h.Sum32()>>(32-uidBits))
}

// Want is what the user wants a machine to be.
type Want string

// What a machine may be wanted to be.
const (
	WantStopped Want = "stopped"
	WantRunning Want = "running"
)

// Port is an interface of a machine on a network.
type Port struct {
	NIC     int        `json:"nic"`     // its number among the machine's interfaces
	Network string     `json:"network"` // the network's id
	Tap     string     `json:"tap"`
	MAC     string     `json:"mac"`
	IP      netip.Addr `json:"ip"`
	IP6     netip.Addr `json:"ip6,omitzero"`
	MTU     int        `json:"mtu"`
	Queues  int        `json:"queues"`
}

// Errors that callers decide on; match with errors.Is.
var (
	ErrNotFound  = errors.New("no such machine")
	ErrAmbiguous = errors.New("ambiguous")
	ErrExists    = errors.New("the name is taken")
)

const vmRecord = "vm.json"

// PutVM writes a machine's record. Its folder is made if need be.
func (d Dirs) PutVM(vm *VM) error {
	if err := os.MkdirAll(d.VMDir(vm.ID), 0o700); err != nil {
		return err
	}
	return Write(filepath.Join(d.VMDir(vm.ID), vmRecord), vm)
}

// GetVM reads the record of a machine by its id.
func (d Dirs) GetVM(id string) (*VM, error) {
	vm := &VM{}
	err := Read(filepath.Join(d.VMDir(id), vmRecord), vm)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %q", ErrNotFound, id)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: mend it, or remove the machine: gureum rm -f %s", err, id)
	}
	if vm.ID != id {
		return nil, fmt.Errorf("%s: the record is of machine %q: it was moved", d.VMDir(id), vm.ID)
	}
	return vm, nil
}

// VMs reads all records, the oldest machine first. Those that cannot be read come as
// errors beside the others, joined.
func (d Dirs) VMs() ([]*VM, error) {
	ids, err := d.VMIDs()
	if err != nil {
		return nil, err
	}
	var out []*VM
	var errs []error
	for _, id := range ids {
		vm, err := d.GetVM(id)
		switch {
		case err == nil:
			out = append(out, vm)
		case !errors.Is(err, ErrNotFound): // it was removed meanwhile, or is being made
			errs = append(errs, err)
		}
	}
	sortByAge(out)
	return out, errors.Join(errs...)
}

// VMIDs lists the ids of folders of machines, of which some may have no record.
func (d Dirs) VMIDs() ([]string, error) {
	names, err := folders(filepath.Join(d.State, "vms"))
	return slices.DeleteFunc(names, func(name string) bool { return len(name) != IDLength }), err
}

// folders lists the names of those in a folder, which need not be there.
func folders(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// FindVM gives the machine that a name, an id or the beginning of one stands for. A name
// wins over the beginning of an id.
func (d Dirs) FindVM(ref string) (*VM, error) {
	vms, err := d.VMs()
	vm, err := find(vms, err, ref, ErrNotFound)
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("%w: see 'gureum ps -a'", err)
	}
	return vm, err
}

func (vm *VM) key() recordKey { return recordKey{vm.ID, vm.Name, vm.Created} }

// RemoveVM removes all that is on disk of a machine. The record goes first, so that
// what a crash leaves is no machine any more; Strays finds it.
func (d Dirs) RemoveVM(id string) error {
	err := os.Remove(filepath.Join(d.VMDir(id), vmRecord))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.Join(os.RemoveAll(d.VMRun(id)), os.RemoveAll(d.VMDir(id)))
}

// Strays are ids of folders without a machine, which a crash left.
func (d Dirs) Strays() ([]string, error) {
	ids, err := d.VMIDs()
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	var strays []string
	for _, id := range ids {
		if _, err := os.Stat(filepath.Join(d.VMDir(id), vmRecord)); errors.Is(err, fs.ErrNotExist) {
			strays = append(strays, id)
		} else {
			known[id] = true
		}
	}
	entries, err := os.ReadDir(filepath.Join(d.Run, "vms"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return strays, err
	}
	for _, e := range entries {
		if !known[e.Name()] && !slices.Contains(strays, e.Name()) {
			strays = append(strays, e.Name())
		}
	}
	return strays, nil
}

// Journal is the path of a machine's journal.
func (d Dirs) Journal(id string) string { return filepath.Join(d.VMDir(id), "journal") }

// ConsoleLog is the path of the log of its console; see Log.
func (d Dirs) ConsoleLog(id string) string { return filepath.Join(d.VMDir(id), "console.log") }

// OutputLog is the path of the log of its command's output.
func (d Dirs) OutputLog(id string) string { return filepath.Join(d.VMDir(id), "output.log") }
