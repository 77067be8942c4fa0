package devices

// PVPanic is the port through which a guest says that its kernel has panicked
// (ACPI id QEMU0001, Linux drivers/misc/pvpanic). Reading it gives the events that
// we understand. It keeps no state.
type PVPanic struct {
	events EventFunc
}

// NewPVPanic makes the device; events may be nil.
func NewPVPanic(events EventFunc) *PVPanic { return &PVPanic{events: events} }

// Name is the device's name in messages.
func (p *PVPanic) Name() string { return "pvpanic" }

// Read reads the events that may be written.
func (p *PVPanic) Read(_ uint64, data []byte) { fill(data, pvpanicAll) }

// Write reports what the guest says. A guest that shuts down through pvpanic, as
// Linux 6.12 does where it has nothing better, is switched off.
func (p *PVPanic) Write(_ uint64, data []byte) {
	for _, v := range data {
		if v&pvpanicPanicked != 0 {
			p.events.emit(Panicked)
		}
		if v&pvpanicCrashLoaded != 0 {
			p.events.emit(CrashLoaded)
		}
		if v&pvpanicShutdown != 0 {
			p.events.emit(PowerOff)
		}
	}
}
