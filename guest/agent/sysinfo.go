package agent

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// systemInfo asks the guest's kernel. What it does not tell stays zero.
func systemInfo() *Info {
	i := &Info{Time: time.Now(), CPUs: runtime.NumCPU()}
	i.Hostname, _ = os.Hostname()
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		i.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	var s unix.Sysinfo_t
	if unix.Sysinfo(&s) == nil {
		unit := uint64(s.Unit)
		i.Uptime, i.Procs = time.Duration(s.Uptime)*time.Second, int(s.Procs)
		i.MemTotal, i.MemFree = s.Totalram*unit, s.Freeram*unit
		i.SwapTotal, i.SwapFree = s.Totalswap*unit, s.Freeswap*unit
		for n := range i.Load {
			i.Load[n] = float64(s.Loads[n]) / loadUnit
		}
	}
	i.MemAvailable = i.MemFree
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		if kib, ok := meminfo(string(text), "MemAvailable:"); ok {
			i.MemAvailable = kib << 10
		}
	}
	i.Addresses = addresses()
	return i
}

// SetClock sets the system's clock.
func SetClock(t time.Time) error {
	ts := unix.NsecToTimespec(t.UnixNano())
	return unix.ClockSettime(unix.CLOCK_REALTIME, &ts)
}

// meminfo finds a line of /proc/meminfo; its unit is KiB.
func meminfo(text, key string) (uint64, bool) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// addresses lists the addresses of all interfaces that are up, but the loopback's,
// by rtnetlink(7).
func addresses() []Address {
	names := map[uint32]string{}
	each(unix.RTM_GETLINK, unix.RTM_NEWLINK, func(m *syscall.NetlinkMessage) {
		// struct ifinfomsg: family u8, u8, type u16, index s32, flags u32, change u32.
		d := decoder{p: m.Data}
		_ = d.take(4)
		index, flags := d.u32(), d.u32()
		if flags&unix.IFF_UP == 0 || flags&unix.IFF_LOOPBACK != 0 {
			return
		}
		if name := attribute(m, unix.IFLA_IFNAME); len(name) > 0 {
			names[index] = strings.TrimRight(string(name), "\x00")
		}
	})
	var list []Address
	each(unix.RTM_GETADDR, unix.RTM_NEWADDR, func(m *syscall.NetlinkMessage) {
		// struct ifaddrmsg: family u8, prefixlen u8, flags u8, scope u8, index u32.
		d := decoder{p: m.Data}
		_, bits, _, _, index := d.u8(), d.u8(), d.u8(), d.u8(), d.u32()
		ip := attribute(m, unix.IFA_LOCAL) // the other end's is IFA_ADDRESS on a point-to-point link
		if ip == nil {
			ip = attribute(m, unix.IFA_ADDRESS)
		}
		name, known := names[index]
		if known && (len(ip) == 4 || len(ip) == 16) && len(list) < maxAddresses {
			list = append(list, Address{Interface: name, IP: ip, Bits: int(bits)})
		}
	})
	return list
}

// each asks for a list and calls f for each of its messages.
func each(request, kind int, f func(*syscall.NetlinkMessage)) {
	raw, err := syscall.NetlinkRIB(request, unix.AF_UNSPEC)
	if err != nil {
		return
	}
	messages, err := syscall.ParseNetlinkMessage(raw)
	if err != nil {
		return
	}
	for n := range messages {
		if int(messages[n].Header.Type) == kind {
			f(&messages[n])
		}
	}
}

// attribute finds one of a message's attributes.
func attribute(m *syscall.NetlinkMessage, kind uint16) []byte {
	list, err := syscall.ParseNetlinkRouteAttr(m)
	if err != nil {
		return nil
	}
	for _, a := range list {
		if a.Attr.Type == kind {
			return a.Value
		}
	}
	return nil
}
