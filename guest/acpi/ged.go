package acpi

import (
	"fmt"

	"github.com/gureum/gureum/guest/acpi/aml"
)

// GED is the generic event device (ACPI0013, section 5.6.9): an interrupt whose
// method reads which events have happened and tells the drivers.
type GED struct {
	// Port is the first of four I/O ports that are read as 32 bits: one bit an
	// event. Reading clears them.
	Port uint16
	// GSI is pulsed (edge triggered, active high) after a bit was set.
	GSI uint32
	// PowerButton is the number of the bit that says that it was pressed.
	PowerButton uint8
	// Events are all others.
	Events []Event
}

// Event is a bit of the event register and what happens when it is set.
type Event struct {
	// Bit is its number, 0 to 31, not that of another event.
	Bit uint8
	// Actions are run by the event method; most often one aml.Notify. They may
	// not use Local0.
	Actions []aml.Term
}

// PowerButtonPath is the power button's device, for aml.Notify.
const PowerButtonPath = `\_SB.PWRB`

// pressed is the notification that a button was pressed (section 5.6.6).
const pressed = 0x80

// terms are the power button and the event device. The event register is read
// once: reading it clears it.
func (g *GED) terms() ([]aml.Term, error) {
	events := append([]Event{{
		Bit:     g.PowerButton,
		Actions: []aml.Term{aml.Notify(aml.Path("PWRB"), aml.Integer(pressed))},
	}}, g.Events...)
	method := []aml.Term{aml.Store(aml.Path("EVTS"), aml.Local(0))}
	var used uint32
	for _, ev := range events {
		mask := uint32(1) << (ev.Bit & 31)
		if ev.Bit > 31 || used&mask != 0 {
			return nil, fmt.Errorf("%w: event bit %d is not one of 0 to 31, or used twice", ErrConfig, ev.Bit)
		}
		used |= mask
		method = append(method, aml.If(
			aml.And(aml.Local(0), aml.Integer(uint64(mask)), aml.Discard), ev.Actions...))
	}
	const registerBytes = 4
	return []aml.Term{
		aml.Device("PWRB", aml.Name("_HID", aml.EISAID("PNP0C0C"))),
		aml.Device("GED",
			aml.Name("_HID", aml.String("ACPI0013")),
			aml.Name("_CRS", aml.ResourceTemplate(aml.Interrupt(g.GSI, aml.EdgeHigh, aml.Exclusive))),
			aml.OpRegion("EREG", aml.SystemIO, uint64(g.Port), registerBytes),
			aml.Field("EREG", aml.DWordAccess, aml.WriteAsZeros,
				aml.FieldUnit{Name: "EVTS", Bits: 8 * registerBytes}),
			aml.Method("_EVT", 1, aml.Serialized, method...),
		),
	}, nil
}
