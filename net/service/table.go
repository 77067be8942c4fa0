package service

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/net/ipam"
)

// table is what a hosts file says, by what is asked for. It is never changed.
type table struct {
	byMAC map[[6]byte]Host
	names
	// sees has the other networks that a machine is on, by the addresses that it has here.
	sees map[netip.Addr][]realm
}

// names are the hosts of a network.
type names struct {
	byName map[string][]Host // lower case; a machine with two ports here has two
	byIP   map[netip.Addr]Host
	inner  map[string]bool // "b.c" and "c" of a host "a.b.c": there are names below
}

// realm is a network as DNS has it.
type realm struct {
	domain            string // NETWORK.internal, lower case
	subnet, subnet6   netip.Prefix
	gateway, gateway6 netip.Addr
	*names
}

func newTable(k known) *table {
	t := &table{byMAC: make(map[[6]byte]Host, len(k.hosts)), names: newNames(k.hosts), sees: map[netip.Addr][]realm{}}
	for _, h := range k.hosts {
		h.Name = strings.ToLower(h.Name)
		t.byMAC[h.MAC] = h
	}
	for _, o := range k.others {
		r := o.realm()
		for _, mac := range o.Askers {
			h, is := t.byMAC[mac]
			if !is {
				continue
			}
			for _, a := range []netip.Addr{h.IP, h.IP6, ipam.LinkLocal(mac)} {
				if a.IsValid() {
					t.sees[a] = append(t.sees[a], r)
				}
			}
		}
	}
	return t
}

func newNames(hosts []Host) names {
	n := names{make(map[string][]Host, len(hosts)), make(map[netip.Addr]Host, 2*len(hosts)), map[string]bool{}}
	for _, h := range hosts {
		h.Name = strings.ToLower(h.Name)
		n.byName[h.Name] = append(n.byName[h.Name], h)
		for _, a := range []netip.Addr{h.IP, h.IP6} {
			if a.IsValid() {
				n.byIP[a] = h
			}
		}
		for _, rest, more := strings.Cut(h.Name, "."); more; _, rest, more = strings.Cut(rest, ".") {
			n.inner[rest] = true
		}
	}
	return n
}

// hostStore follows a hosts file. It looks at the file's identity at each question, one
// system call of about a microsecond: so an answer is never older than the file, no
// goroutine waits, and none of the few inotify instances that a user may have
// (fs.inotify.max_user_instances, 128) goes to each network.
//
// The folder's descriptor is opened with the service, so that the file can be read
// after the root folder or the user has changed.
type hostStore struct {
	dir  int // of the folder
	name string
	log  *slog.Logger

	mu   sync.Mutex // one reader reads the file
	seen atomic.Pointer[hostState]
}

// hostState is what a version of the file says.
type hostState struct {
	version fileVersion
	table   *table
}

// fileVersion is that which differs between a file and the one that replaces it.
type fileVersion struct {
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
	missing      bool
}

func openHosts(path string, log *slog.Logger) (*hostStore, error) {
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("folder of hosts file %s: %w", path, err)
	}
	s := &hostStore{dir: dir, name: filepath.Base(path), log: log}
	s.seen.Store(&hostState{version: fileVersion{missing: true}, table: newTable(known{})})
	return s, nil
}

func (s *hostStore) close() error { return unix.Close(s.dir) }

// current gives the hosts as the file has them now. A file that cannot be read leaves
// what was read before.
func (s *hostStore) current() *table {
	seen := s.seen.Load()
	if s.version() == seen.version {
		return seen.table
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// The version is taken before the contents: what comes between is read again.
	version := s.version()
	seen = s.seen.Load()
	if version == seen.version {
		return seen.table
	}
	next := &hostState{version: version, table: seen.table}
	k, err := s.read()
	switch {
	case err == nil:
		next.table = newTable(k)
	case errors.Is(err, os.ErrNotExist):
		next.table = newTable(known{})
	default:
		s.log.Error("hosts file is not read: the service goes on with what it knows", "file", s.name, "error", err)
	}
	s.seen.Store(next)
	return next.table
}

func (s *hostStore) version() fileVersion {
	var st unix.Stat_t
	if err := unix.Fstatat(s.dir, s.name, &st, 0); err != nil {
		return fileVersion{missing: true}
	}
	return fileVersion{dev: st.Dev, ino: st.Ino, size: st.Size, mtime: st.Mtim, ctime: st.Ctim}
}

func (s *hostStore) read() (known, error) {
	fd, err := unix.Openat(s.dir, s.name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return known{}, err
	}
	file := os.NewFile(uintptr(fd), s.name)
	defer file.Close()
	return readHosts(file)
}
