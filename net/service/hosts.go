package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/net/ipam"
)

// Bounds of a hosts file. Its writer is trusted; the bounds keep a mistake small.
const (
	maxHostsFile = 16 << 20
	maxHosts     = 1 << 16
	maxLabel     = 63 // RFC 1035, section 2.3.4
)

// Host is a port of the network as the service sees it: who it is, by its MAC address,
// and what it shall have.
type Host struct {
	// Name answers to NAME.NETWORK.internal and, if it is one label, to the bare name.
	// Letters, digits, hyphens, underscores and dots; case does not matter.
	Name string
	// MAC is the port's: the switch lets no other through.
	MAC [6]byte
	// IP and IP6 are what the port gets; a zero one is none.
	IP, IP6 netip.Addr
}

// known is what a hosts file says.
type known struct {
	hosts  []Host
	others []Other
}

// hostFile is the form of a hosts file.
type hostFile struct {
	Hosts  []hostEntry  `json:"hosts"`
	Others []otherEntry `json:"others,omitempty"`
}

type hostEntry struct {
	Name string     `json:"name"`
	MAC  string     `json:"mac"`
	IP   netip.Addr `json:"ip,omitzero"`
	IP6  netip.Addr `json:"ip6,omitzero"`
}

// WriteHosts makes a hosts file anew. Whoever reads it at the same time, a running
// service too, sees what was there before or all of the new. Writers may come together;
// the last wins. Its folder must exist, and be searchable by the service's user when
// one runs.
//
// Others are networks whose names some of the hosts may know, too.
func WriteHosts(path string, hosts []Host, others ...Other) error {
	if err := (known{hosts, others}).check(); err != nil {
		return fmt.Errorf("hosts file %s: %w", path, err)
	}
	f := hostFile{Hosts: hostEntries(hosts)}
	for _, o := range others {
		f.Others = append(f.Others, o.entry())
	}
	text, err := json.MarshalIndent(f, "", "\t")
	if err != nil {
		return fmt.Errorf("hosts file %s: %w", path, err)
	}
	if err := replaceFile(path, append(text, '\n')); err != nil {
		return fmt.Errorf("write hosts file %s: %w", path, err)
	}
	return nil
}

func hostEntries(hosts []Host) []hostEntry {
	out := []hostEntry{}
	for _, h := range hosts {
		out = append(out, hostEntry{Name: h.Name, MAC: ipam.FormatMAC(h.MAC), IP: h.IP, IP6: h.IP6})
	}
	return out
}

// replaceFile gives a file new contents in one step. The file beside it, in which they
// are prepared, always has the same name, so that a writer that was killed leaves at
// most one, and the next writer takes it over.
func replaceFile(path string, text []byte) error {
	next := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	file, err := lockFile(next)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := file.Truncate(0); err != nil {
		return err
	}
	if _, err := file.WriteAt(text, 0); err != nil {
		return errors.Join(err, os.Remove(next))
	}
	if err := file.Sync(); err != nil {
		return errors.Join(err, os.Remove(next))
	}
	return os.Rename(next, path)
}

// lockFile opens a file and waits until it has it alone and the file still has its name.
func lockFile(path string) (*os.File, error) {
	for {
		// The service reads it as another user; the folder says who else may.
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
		if err != nil {
			return nil, err
		}
		if err := flock(file); err != nil {
			return nil, errors.Join(err, file.Close())
		}
		mine, err1 := file.Stat()
		named, err2 := os.Lstat(path)
		if err1 == nil && err2 == nil && os.SameFile(mine, named) {
			return file, nil
		}
		_ = file.Close() // another writer has put it in place meanwhile
		if err1 != nil {
			return nil, err1
		}
		if err2 != nil && !errors.Is(err2, os.ErrNotExist) {
			return nil, err2
		}
	}
}

func flock(file *os.File) error {
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// ReadHosts reads what WriteHosts has written.
func ReadHosts(path string) ([]Host, []Other, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("hosts file: %w", err)
	}
	defer file.Close()
	k, err := readHosts(file)
	if err != nil {
		return nil, nil, fmt.Errorf("hosts file %s: %w", path, err)
	}
	return k.hosts, k.others, nil
}

// readHosts gives hosts only without an error.
func readHosts(r io.Reader) (known, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxHostsFile+1))
	if err != nil {
		return known{}, err
	}
	if len(text) > maxHostsFile {
		return known{}, fmt.Errorf("larger than %d bytes", maxHostsFile)
	}
	var f hostFile
	if err := json.Unmarshal(text, &f); err != nil {
		return known{}, err
	}
	var k known
	if k.hosts, err = readEntries(f.Hosts); err != nil {
		return known{}, err
	}
	for _, e := range f.Others {
		o, err := e.other()
		if err != nil {
			return known{}, fmt.Errorf("network %q: %w", e.Name, err)
		}
		k.others = append(k.others, o)
	}
	if err := k.check(); err != nil {
		return known{}, err
	}
	return k, nil
}

func readEntries(list []hostEntry) (hosts []Host, err error) {
	hosts = make([]Host, 0, len(list))
	for _, e := range list {
		h := Host{Name: e.Name, IP: e.IP, IP6: e.IP6}
		if h.MAC, err = ipam.ParseMAC(e.MAC); err != nil {
			return nil, fmt.Errorf("host %q: %w", e.Name, err)
		}
		hosts = append(hosts, h)
	}
	return hosts, nil
}

// checkHosts checks each host, and that no two are the same port.
func checkHosts(hosts []Host) error {
	if len(hosts) > maxHosts {
		return fmt.Errorf("%d hosts: at most %d are possible", len(hosts), maxHosts)
	}
	macs, addrs := make(map[[6]byte]string, len(hosts)), make(map[netip.Addr]string, 2*len(hosts))
	for _, h := range hosts {
		if err := h.check(); err != nil {
			return err
		}
		if other, ok := macs[h.MAC]; ok {
			return fmt.Errorf("hosts %q and %q: both have the MAC address %s", other, h.Name, ipam.FormatMAC(h.MAC))
		}
		macs[h.MAC] = h.Name
		for _, a := range []netip.Addr{h.IP, h.IP6} {
			if other, ok := addrs[a]; ok && a.IsValid() {
				return fmt.Errorf("hosts %q and %q: both have the address %s", other, h.Name, a)
			}
			addrs[a] = h.Name
		}
	}
	return nil
}

func (h Host) check() error {
	if err := CheckName(h.Name); err != nil {
		return fmt.Errorf("host %q: %w", h.Name, err)
	}
	if err := ipam.CheckMAC(h.MAC); err != nil {
		return fmt.Errorf("host %q: %w", h.Name, err)
	}
	if h.IP.IsValid() && !h.IP.Is4() {
		return fmt.Errorf("host %q: address %s: not IPv4", h.Name, h.IP)
	}
	if h.IP6.IsValid() && (!h.IP6.Is6() || h.IP6.Is4In6() || h.IP6.Zone() != "") {
		return fmt.Errorf("host %q: address %s: not IPv6", h.Name, h.IP6)
	}
	return nil
}

// CheckName tells whether a machine or a network can be found by that name: labels of
// letters, digits, hyphens and underscores, at most 63 long, with dots between them, in
// all at most 200 (RFC 1035, section 2.3.4, leaves 255 for the whole).
func CheckName(name string) error {
	if name == "" || len(name) > 200 {
		return fmt.Errorf("name %q: a name has 1 to 200 characters", name)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel {
			return fmt.Errorf("name %q: between dots there are 1 to %d characters", name, maxLabel)
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("name %q: a hyphen begins or ends it", name)
		}
		for i := range len(label) {
			if c := label[i]; !isNameByte(c) {
				return fmt.Errorf("name %q: %q is not a letter, digit, hyphen or underscore", name, c)
			}
		}
	}
	return nil
}

func isNameByte(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '-' || c == '_'
}
