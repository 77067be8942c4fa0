package pci

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/gureum/gureum/kvm"
)

// VM is what interrupts ask of KVM; *kvm.VM is one.
type VM interface {
	SetGSIRouting([]kvm.Route) error
	IRQFD(e *kvm.EventFD, gsi uint32) error
	RemoveIRQFD(e *kvm.EventFD, gsi uint32) error
}

// firstMSI is the first GSI that is no pin of the I/O APIC; maxGSIs is how many
// there are in all (KVM_MAX_IRQ_ROUTES of arch/x86/include/asm/kvm_host.h).
const (
	firstMSI = kvm.IOAPICPins
	maxGSIs  = 4096
)

// ErrNoGSI says that all of KVM's interrupt routes are taken.
var ErrNoGSI = errors.New("no interrupt route is left")

// Router owns KVM's table of interrupt routes, which can only be replaced as a
// whole: it hands out GSIs and keeps where each one leads. One serves all functions
// of a machine. Its methods may be called from any goroutine.
type Router struct {
	vm VM

	mu     sync.Mutex
	next   uint32
	routes []kvm.Route
}

// NewRouter makes a router whose table has the interrupt controllers' pins only.
func NewRouter(vm VM) *Router {
	return &Router{vm: vm, next: firstMSI, routes: kvm.DefaultRoutes()}
}

// Allocate hands out n GSIs in a row and returns the first. They lead nowhere yet.
func (r *Router) Allocate(n int) (uint32, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Pins below 16 have two routes each, which the table's limit has to hold too.
	if n < 0 || uint64(r.next)+uint64(n) > maxGSIs-16 {
		return 0, fmt.Errorf("%d interrupts: %w", n, ErrNoGSI)
	}
	first := r.next
	r.next += uint32(n)
	return first, nil
}

// Set makes gsi lead to m. If KVM refuses, the table stays as it was: one device's
// nonsense does not take the others' interrupts away.
func (r *Router) Set(gsi uint32, m kvm.MSI) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	route := kvm.MSIRoute(gsi, m)
	at := slices.IndexFunc(r.routes, func(o kvm.Route) bool { return o.GSI == gsi })
	if at < 0 {
		r.routes = append(r.routes, route)
		err := r.vm.SetGSIRouting(r.routes)
		if err != nil {
			r.routes = r.routes[:len(r.routes)-1]
		}
		return err
	}
	old := r.routes[at]
	if old == route {
		return nil
	}
	r.routes[at] = route
	err := r.vm.SetGSIRouting(r.routes)
	if err != nil {
		r.routes[at] = old
	}
	return err
}
