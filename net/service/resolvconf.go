package service

import (
	"bufio"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	hostResolvConf = "/etc/resolv.conf"
	maxResolvConf  = 64 << 10
	// resolvConfEvery is how often it is looked at, when there are questions.
	resolvConfEvery = 2 * time.Second
)

// resolvConf is the host's list of DNS servers (resolv.conf(5)), read again when the
// file has changed. One that cannot be read any more, because the process has another
// root folder by now, leaves what was read before.
//
// Where systemd-resolved runs, the list is its stub, 127.0.0.53. That is the right one
// to ask: the service is in the host's network namespace, so the stub answers it, and
// only the stub knows which server is for which names (VPNs) and keeps a cache.
type resolvConf struct {
	path string
	log  *slog.Logger

	mu      sync.Mutex
	checked time.Time
	seen    os.FileInfo
	list    []netip.AddrPort
}

func newResolvConf(path string, log *slog.Logger) *resolvConf {
	r := &resolvConf{path: path, log: log, list: defaultServers()}
	r.servers(time.Now()) // while it can be read for sure
	return r
}

// defaultServers are asked when the host names none (resolv.conf(5)).
func defaultServers() []netip.AddrPort {
	return []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dnsPort), netip.AddrPortFrom(netip.IPv6Loopback(), dnsPort)}
}

func (r *resolvConf) servers(now time.Time) []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.checked.IsZero() && now.Sub(r.checked) < resolvConfEvery {
		return r.list
	}
	r.checked = now
	info, err := os.Stat(r.path)
	if err != nil || r.seen != nil && os.SameFile(info, r.seen) && info.ModTime().Equal(r.seen.ModTime()) && info.Size() == r.seen.Size() {
		return r.list
	}
	file, err := os.Open(r.path)
	if err != nil {
		return r.list
	}
	defer file.Close()
	list, err := parseResolvConf(io.LimitReader(file, maxResolvConf))
	if err != nil {
		r.log.Warn("DNS servers of the host: the list is not read", "file", r.path, "error", err)
		return r.list
	}
	r.seen, r.list = info, list
	return list
}

func parseResolvConf(f io.Reader) ([]netip.AddrPort, error) {
	var list []netip.AddrPort
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil {
			list = append(list, netip.AddrPortFrom(a, dnsPort))
		}
	}
	if list == nil {
		list = defaultServers()
	}
	return list, lines.Err()
}
