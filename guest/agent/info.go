package agent

import (
	"encoding/binary"
	"time"
)

// Info is how a guest fares.
type Info struct {
	Hostname string
	Kernel   string // its release, as uname -r
	Uptime   time.Duration
	Time     time.Time // by the guest's clock
	CPUs     int       // online
	Procs    int       // threads included
	// Memory in bytes. Available is what programs can get without swapping.
	MemTotal, MemFree, MemAvailable, SwapTotal, SwapFree uint64
	Load                                                 [3]float64 // over 1, 5 and 15 minutes
	Addresses                                            []Address
}

// Address is one network address of a guest.
type Address struct {
	Interface string
	IP        []byte // 4 or 16 bytes, for netip.AddrFromSlice
	Bits      int    // of the network's prefix
}

// Bounds of what a guest may say of itself.
const (
	maxAddresses = 64
	maxInfoName  = 256
)

const loadUnit = 1 << 16

func (i *Info) encode(b []byte) []byte {
	le := binary.LittleEndian
	b = appendString(b, clipTo(i.Hostname, maxInfoName))
	b = appendString(b, clipTo(i.Kernel, maxInfoName))
	b = le.AppendUint64(b, uint64(i.Uptime))
	b = le.AppendUint64(b, uint64(i.Time.UnixNano()))
	b = le.AppendUint32(b, uint32(i.CPUs))
	b = le.AppendUint32(b, uint32(i.Procs))
	for _, n := range [...]uint64{i.MemTotal, i.MemFree, i.MemAvailable, i.SwapTotal, i.SwapFree} {
		b = le.AppendUint64(b, n)
	}
	for _, l := range i.Load {
		b = le.AppendUint32(b, uint32(l*loadUnit))
	}
	list := i.Addresses[:min(len(i.Addresses), maxAddresses)]
	b = append(b, byte(len(list)))
	for _, a := range list {
		b = appendString(b, clipTo(a.Interface, maxInfoName))
		b = append(b, byte(len(a.IP)))
		b = append(append(b, a.IP...), byte(a.Bits))
	}
	return b
}

// parseInfo reads what a guest says; it may say anything, within these bounds.
func parseInfo(p []byte) (*Info, error) {
	d := decoder{p: p}
	i := &Info{
		Hostname: d.text(), Kernel: d.text(),
		Uptime: time.Duration(d.u64()), Time: time.Unix(0, int64(d.u64())),
		CPUs: int(d.u32()), Procs: int(d.u32()),
		MemTotal: d.u64(), MemFree: d.u64(), MemAvailable: d.u64(), SwapTotal: d.u64(), SwapFree: d.u64(),
	}
	for n := range i.Load {
		i.Load[n] = float64(d.u32()) / loadUnit
	}
	count := int(d.u8())
	if count > maxAddresses {
		d.bad = true
	}
	for range count {
		if d.bad {
			break
		}
		a := Address{Interface: d.text()}
		n := int(d.u8())
		a.IP = append([]byte(nil), d.take(n)...)
		a.Bits = int(d.u8())
		if n != 4 && n != 16 || a.Bits > 8*n {
			d.bad = true
		}
		i.Addresses = append(i.Addresses, a)
	}
	if !d.done() {
		return nil, &ProtocolError{"malformed info"}
	}
	return i, nil
}

// text is a short string to be shown.
func (d *decoder) text() string {
	n := d.u32()
	if n > maxInfoName {
		d.bad = true
	}
	return printable(d.take(int(n)))
}

func clipTo(s string, n int) string { return s[:min(len(s), n)] }
