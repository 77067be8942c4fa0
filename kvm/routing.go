package kvm

import "fmt"

// RouteKind says what a GSI reaches.
type RouteKind uint32

const (
	// RouteIRQChip is a pin of an in-kernel interrupt controller (KVM_IRQ_ROUTING_IRQCHIP).
	RouteIRQChip RouteKind = 1
	// RouteMSI is a message (KVM_IRQ_ROUTING_MSI).
	RouteMSI RouteKind = 2
)

// maxRoutes is KVM_MAX_IRQ_ROUTES.
const maxRoutes = 4096

// Route is one entry of the table that takes an interrupt line (GSI) to what it raises. A GSI
// may have several entries, one for each controller.
type Route struct {
	GSI  uint32
	Kind RouteKind
	Chip uint32 // RouteIRQChip: PICMaster, PICSlave or IOAPIC
	Pin  uint32 // RouteIRQChip: pin of Chip
	MSI  MSI    // RouteMSI
}

// IRQChipRoute takes gsi to a pin of PICMaster, PICSlave or IOAPIC.
func IRQChipRoute(gsi, chip, pin uint32) Route {
	return Route{GSI: gsi, Kind: RouteIRQChip, Chip: chip, Pin: pin}
}

// MSIRoute takes gsi to a message.
func MSIRoute(gsi uint32, m MSI) Route {
	return Route{GSI: gsi, Kind: RouteMSI, MSI: m}
}

// DefaultRoutes gives the table that CreateIRQChip installs: GSI n is pin n of the I/O APIC,
// and below 16 of the i8259 pair as well. SetGSIRouting replaces the whole table, so a table
// with MSIs starts from these.
func DefaultRoutes() []Route {
	routes := make([]Route, 0, IOAPICPins+2*picPins)
	for gsi := range uint32(IOAPICPins) {
		routes = append(routes, IRQChipRoute(gsi, IOAPIC, gsi))
		switch {
		case gsi < picPins:
			routes = append(routes, IRQChipRoute(gsi, PICMaster, gsi))
		case gsi < 2*picPins:
			routes = append(routes, IRQChipRoute(gsi, PICSlave, gsi-picPins))
		}
	}
	return routes
}

// SetGSIRouting replaces the VM's routing table (KVM_SET_GSI_ROUTING). An irqfd follows the new
// route of its GSI at once.
func (vm *VM) SetGSIRouting(routes []Route) error {
	const op = "KVM_SET_GSI_ROUTING"
	if len(routes) > maxRoutes {
		return argError(op, "%d routes, at most %d", len(routes), maxRoutes)
	}
	words, entries := newTable[routingEntry](len(routes))
	for i, r := range routes {
		e := &entries[i]
		e.gsi, e.kind = r.GSI, uint32(r.Kind)
		switch r.Kind {
		case RouteIRQChip:
			e.u[0], e.u[1] = r.Chip, r.Pin
		case RouteMSI:
			e.u[0], e.u[1], e.u[2] = uint32(r.MSI.Address), uint32(r.MSI.Address>>32), r.MSI.Data
		default:
			return argError(op, "route %d (GSI %d) is of unknown kind %d", i, r.GSI, r.Kind)
		}
	}
	_, err := ioctlPtr(vm.fd, reqSetGSIRouting, &words[0])
	return opError(fmt.Sprintf("%s with %d routes", op, len(routes)), err)
}
