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

// firstMSI is the first GSI that is no pin of the I/O APIC; maxRoutes is how many
// routes a table can have (KVM_MAX_IRQ_ROUTES of include/linux/kvm_host.h).
const (
	firstMSI  = kvm.IOAPICPins
	maxRoutes = 4096
)

// ErrNoGSI says that all of KVM's interrupt routes are taken.
var ErrNoGSI = errors.New("no interrupt route is left")

// Router owns KVM's table of interrupt routes, which can only be replaced as a
// whole: it hands out GSIs and keeps where each one leads. One serves all functions
// of a machine. Its methods may be called from any goroutine.
type Router struct {
	vm VM

	mu     sync.Mutex
	routes []kvm.Route
	// at is the place in routes of each GSI that was handed out, 0 if it has none
	// yet: that place is a pin's.
	at []int
}

// NewRouter makes a router whose table has the interrupt controllers' pins only.
func NewRouter(vm VM) *Router {
	return &Router{vm: vm, routes: kvm.DefaultRoutes()}
}

// Allocate hands out n GSIs in a row and returns the first. They lead nowhere yet.
func (r *Router) Allocate(n int) (uint32, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n < 0 || len(kvm.DefaultRoutes())+len(r.at)+n > maxRoutes {
		return 0, fmt.Errorf("%d interrupts: %w", n, ErrNoGSI)
	}
	first := firstMSI + len(r.at)
	r.at = append(r.at, make([]int, n)...)
	return uint32(first), nil
}

// Set makes GSIs lead to messages, all of them with one change of the table, or with
// none if they do already. If KVM refuses, the table stays as it was: one device's
// nonsense does not take the others' interrupts away.
func (r *Router) Set(routes ...kvm.Route) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.news(routes) {
		return nil
	}
	table := slices.Clone(r.routes)
	for _, route := range routes {
		if at := r.at[route.GSI-firstMSI]; at != 0 {
			table[at] = route
		} else {
			table = append(table, route)
		}
	}
	if err := r.vm.SetGSIRouting(table); err != nil {
		return err
	}
	for at := len(r.routes); at < len(table); at++ {
		r.at[table[at].GSI-firstMSI] = at
	}
	r.routes = table
	return nil
}

// news tells whether any of the routes differs from the table.
func (r *Router) news(routes []kvm.Route) bool {
	for _, route := range routes {
		if at := r.at[route.GSI-firstMSI]; at == 0 || r.routes[at] != route {
			return true
		}
	}
	return false
}
