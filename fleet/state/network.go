package state

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Network is the record of a network.
type Network struct {
	ID      string       `json:"id"`
	Name    string       `json:"name"`
	Created time.Time    `json:"created"`
	Subnet  netip.Prefix `json:"subnet"`
	Subnet6 netip.Prefix `json:"subnet6,omitzero"`
	MTU     int          `json:"mtu"`
	// Internal: no way to and from the outside.
	Internal bool `json:"internal,omitempty"`
	// Isolated: its machines do not reach one another.
	Isolated bool `json:"isolated,omitempty"`
	// HostAccess: its machines reach the host's own services, beyond the network's.
	HostAccess bool `json:"host_access,omitempty"`
	// Shielded: the host reaches its machines only where they publish.
	Shielded bool `json:"shielded,omitempty"`
}

// ErrNoNetwork is the error for a network that is not there.
var ErrNoNetwork = errors.New("no such network")

const recordSuffix = ".json"

func (d Dirs) network(id string) string { return filepath.Join(d.State, "networks", id+recordSuffix) }

// PutNetwork writes a network's record.
func (d Dirs) PutNetwork(n *Network) error { return Write(d.network(n.ID), n) }

// RemoveNetwork removes a network's record.
func (d Dirs) RemoveNetwork(id string) error {
	err := os.Remove(d.network(id))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(d.NetworkRun(id))
}

// Networks reads all records, the oldest network first. Those that cannot be read come
// as errors beside the others, joined.
func (d Dirs) Networks() ([]*Network, error) {
	entries, err := os.ReadDir(filepath.Join(d.State, "networks"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out []*Network
	var errs []error
	for _, e := range entries {
		id, is := strings.CutSuffix(e.Name(), recordSuffix)
		if !is || strings.HasPrefix(id, tempPrefix) {
			continue
		}
		n := &Network{}
		err := Read(d.network(id), n)
		switch {
		case err == nil && n.ID == id:
			out = append(out, n)
		case err == nil:
			errs = append(errs, fmt.Errorf("%s: the record is of network %q: it was moved: mend it, or remove the network: gureum network rm %s", d.network(id), n.ID, id))
		case !errors.Is(err, fs.ErrNotExist):
			errs = append(errs, fmt.Errorf("%w: mend it, or remove the network: gureum network rm %s", err, id))
		}
	}
	sortByAge(out)
	return out, errors.Join(errs...)
}

// IsDamagedNetwork tells whether an id is of a network whose record cannot be read.
func (d Dirs) IsDamagedNetwork(id string) bool {
	if len(id) != NetworkIDLength || filepath.Base(id) != id {
		return false
	}
	n := &Network{}
	err := Read(d.network(id), n)
	return err != nil && !errors.Is(err, fs.ErrNotExist) || err == nil && n.ID != id
}

// FindNetwork gives the network that a name, an id or the beginning of one stands for.
func (d Dirs) FindNetwork(ref string) (*Network, error) {
	networks, err := d.Networks()
	n, err := find(networks, err, ref, ErrNoNetwork)
	if errors.Is(err, ErrNoNetwork) {
		err = fmt.Errorf("%w: see 'gureum network ls'", err)
	}
	return n, err
}

func (n *Network) key() recordKey { return recordKey{n.ID, n.Name, n.Created} }

// NetworkRun is where a network's files are that a reboot removes: the hosts file of its
// service, and the lock that says that the service lives.
func (d Dirs) NetworkRun(id string) string { return filepath.Join(d.Run, "networks", id) }

// Hosts is the path of a network's hosts file.
func (d Dirs) Hosts(id string) string { return filepath.Join(d.NetworkRun(id), "hosts.json") }

// Served lists the ids of networks that have had a service since the host started, of which
// some may have no record.
func (d Dirs) Served() ([]string, error) {
	return folders(filepath.Join(d.Run, "networks"))
}

// ServiceAlive is the path of the lock that a network's service holds.
func (d Dirs) ServiceAlive(id string) string { return filepath.Join(d.NetworkRun(id), "alive") }

// HostRun is a folder of root's that all fleets of a host share, as they share its switch.
const HostRun = "/run/gureum"

// SwitchLock is the path of the lock on what is plugged in on the host: interfaces,
// rules, hosts files.
func SwitchLock() string { return filepath.Join(HostRun, "plug.lock") }
