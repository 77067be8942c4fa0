package pci

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/gureum/gureum/kvm"
)

// MaxVectors is the largest MSI-X table (section 6.8.2).
const MaxVectors = 2048

// The MSI-X capability and its table (sections 6.8.2.3 to 6.8.2.9).
const (
	msixCapSize      = 12
	msixControl      = 2 // offset of message control
	msixEnable       = 1 << 15
	msixFunctionMask = 1 << 14

	// VectorSize is the size of an entry of the MSI-X table.
	VectorSize       = 16
	vectorAddrLow    = 0
	vectorAddrHigh   = 4
	vectorData       = 8
	vectorControl    = 12
	vectorMasked     = 1
	vectorAddrIgnore = 3 // the address is a multiple of 4
)

// MSIX is a function's MSI-X: the table and the pending bits that lie in one of its
// BARs, and an eventfd for each vector that raises it when signalled, by whatever
// is able to signal it.
//
// A vector that can reach the guest is an irqfd, so that KVM injects it alone. A
// masked one is not bound to KVM: its signals stay in the eventfd, which thereby is
// the pending bit, and KVM finds them there when it is bound again.
//
// Its methods may be called from any goroutine.
type MSIX struct {
	router *Router
	log    *slog.Logger
	cap    int // offset of the capability

	mu      sync.Mutex
	enabled bool
	masked  bool // the function mask
	vectors []vector
}

type vector struct {
	event  *kvm.EventFD
	gsi    uint32
	words  [3]uint32 // address low and high, data
	masked bool
	bound  bool // the irqfd is installed
	failed bool // KVM refused something, and the log has it
}

// NewMSIX makes n vectors and their eventfds and adds the capability to f. Table
// and pending bits lie at the given offsets, multiples of 8, in the given BAR;
// whoever owns that BAR passes accesses on. nil for log is slog.Default.
func NewMSIX(f *Function, r *Router, n, bar int, table, pending uint32, log *slog.Logger) (*MSIX, error) {
	if n < 1 || n > MaxVectors {
		return nil, fmt.Errorf("%d MSI-X vectors: want 1 to %d", n, MaxVectors)
	}
	gsi, err := r.Allocate(n)
	if err != nil {
		return nil, err
	}
	body := make([]byte, msixCapSize-2)
	binary.LittleEndian.PutUint16(body, uint16(n-1))
	binary.LittleEndian.PutUint32(body[2:], table|uint32(bar))
	binary.LittleEndian.PutUint32(body[6:], pending|uint32(bar))
	writable := []byte{0, (msixEnable | msixFunctionMask) >> 8}
	if log == nil {
		log = slog.Default()
	}
	m := &MSIX{router: r, log: log, vectors: make([]vector, n)}
	if m.cap, err = f.AddCapability(CapMSIX, body, writable); err != nil {
		return nil, err
	}
	for i := range m.vectors {
		v := &m.vectors[i]
		v.gsi, v.masked = gsi+uint32(i), true
		if v.event, err = kvm.NewEventFD(); err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	return m, nil
}

// Vectors is the number of vectors.
func (m *MSIX) Vectors() int { return len(m.vectors) }

// Event is what raises vector i when it is signalled.
func (m *MSIX) Event(i int) *kvm.EventFD { return m.vectors[i].event }

// AfterWrite follows the guest's write to the capability; a Handler passes on what
// its AfterWrite is told.
func (m *MSIX) AfterWrite(f *Function, offset, size int) {
	if offset >= m.cap+msixControl+2 || offset+size <= m.cap+msixControl {
		return
	}
	control := f.config.u16(m.cap + msixControl)
	m.mu.Lock()
	defer m.mu.Unlock()
	was := m.enabled
	m.enabled, m.masked = control&msixEnable != 0, control&msixFunctionMask != 0
	for i := range m.vectors {
		if m.enabled && !was {
			// What was signalled while the function had no interrupts is no news.
			_, _ = m.vectors[i].event.TryRead()
		}
	}
	m.routeAll()
	for i := range m.vectors {
		m.settle(&m.vectors[i])
	}
}

// routeAll changes KVM's table once for all vectors that are let through. If KVM
// refuses, settle tries each by itself.
func (m *MSIX) routeAll() {
	if !m.enabled || m.masked {
		return
	}
	var routes []kvm.Route
	for i := range m.vectors {
		if v := &m.vectors[i]; !v.masked {
			routes = append(routes, v.route())
		}
	}
	_ = m.router.Set(routes...)
}

// route is where the vector's GSI is to lead.
func (v *vector) route() kvm.Route {
	return kvm.MSIRoute(v.gsi, kvm.MSI{Address: uint64(v.words[1])<<32 | uint64(v.words[0]&^vectorAddrIgnore), Data: v.words[2]})
}

// settle binds a vector to KVM or takes it away, as masks and table say.
func (m *MSIX) settle(v *vector) {
	if !m.enabled || m.masked || v.masked {
		if v.bound {
			m.check("unbind", v, m.router.vm.RemoveIRQFD(v.event, v.gsi))
			v.bound = false
		}
		return
	}
	if err := m.router.Set(v.route()); err != nil {
		m.check("route", v, err)
		return
	}
	if !v.bound {
		err := m.router.vm.IRQFD(v.event, v.gsi)
		m.check("bind", v, err)
		v.bound = err == nil
	}
}

// check reports a vector's first failure in KVM: the guest loses interrupts by it.
func (m *MSIX) check(what string, v *vector, err error) {
	if err != nil && !v.failed {
		v.failed = true
		m.log.Warn("MSI-X vector", "what", what, "gsi", v.gsi, "error", err)
	}
}

// ReadTable reads the table. Accesses are of 4 or 8 bytes and aligned (section
// 6.8.2); others read as zero.
func (m *MSIX) ReadTable(offset uint64, data []byte) {
	clear(data)
	if !tableAccess(offset, data) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := 0; i < len(data); i += 4 {
		if v, reg := m.at(offset + uint64(i)); v != nil {
			binary.LittleEndian.PutUint32(data[i:], v.word(reg))
		}
	}
}

// WriteTable writes the table. What a write of both halves of a word pair changes
// takes effect at once.
func (m *MSIX) WriteTable(offset uint64, data []byte) {
	if !tableAccess(offset, data) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	v, _ := m.at(offset)
	if v == nil {
		return
	}
	for i := 0; i < len(data); i += 4 {
		_, reg := m.at(offset + uint64(i))
		v.setWord(reg, binary.LittleEndian.Uint32(data[i:]))
	}
	m.settle(v)
}

func tableAccess(offset uint64, data []byte) bool {
	n := uint64(len(data))
	return (n == 4 || n == 8) && offset%n == 0
}

// at is the vector, or nil, and the register in it at an offset of the table.
func (m *MSIX) at(offset uint64) (*vector, int) {
	i := offset / VectorSize
	if i >= uint64(len(m.vectors)) {
		return nil, 0
	}
	return &m.vectors[i], int(offset % VectorSize)
}

func (v *vector) word(reg int) uint32 {
	if reg == vectorControl {
		if v.masked {
			return vectorMasked
		}
		return 0
	}
	return v.words[reg/4]
}

func (v *vector) setWord(reg int, w uint32) {
	if reg == vectorControl {
		v.masked = w&vectorMasked != 0
		return
	}
	v.words[reg/4] = w
}

// ReadPending reads the pending bits: one a vector, set while a masked vector waits
// to be raised.
func (m *MSIX) ReadPending(offset uint64, data []byte) {
	clear(data)
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range data {
		first := (offset + uint64(i)) * 8
		for bit := range uint64(8) {
			if first+bit < uint64(len(m.vectors)) && m.vectors[first+bit].pending() {
				data[i] |= 1 << bit
			}
		}
	}
}

// pending tells whether the vector was signalled and has not been raised.
func (v *vector) pending() bool {
	if v.bound {
		return false
	}
	yes, err := v.event.Pending()
	return yes && err == nil
}

// Enabled tells whether the guest has switched MSI-X on.
func (m *MSIX) Enabled() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.enabled
}

// Close takes the vectors from KVM and closes their eventfds.
func (m *MSIX) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for i := range m.vectors {
		v := &m.vectors[i]
		if v.event == nil {
			continue
		}
		if v.bound {
			errs = append(errs, m.router.vm.RemoveIRQFD(v.event, v.gsi))
			v.bound = false
		}
		errs = append(errs, v.event.Close())
	}
	return errors.Join(errs...)
}
