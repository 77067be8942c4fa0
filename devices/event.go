package devices

import "fmt"

// Event is something that a guest asked for, or that befell it, and that ends or
// marks its run. A device reports it to its EventFunc.
//
// How the ends of a run are told apart:
//
//	power-off     PowerOff, from the ACPI sleep control register or pvpanic
//	reboot        Reset, from the ACPI reset register, the i8042 or port 0x92
//	kernel panic  Panicked or CrashLoaded, from pvpanic; a Reset or a PowerOff may
//	              follow when the guest runs with panic=N or with a crash kernel
//	triple fault  no Event: KVM stops the vCPU, and package vcpu reports it. Linux
//	              falls back on it when each way to reset has failed, so it is only
//	              a reboot when nothing else was heard first.
type Event int

const (
	// PowerOff means that the guest switched the machine off.
	PowerOff Event = iota + 1
	// Reset means that the guest asked for a reset of the whole machine.
	Reset
	// Panicked means that the guest's kernel panicked and has no crash kernel.
	// The vCPUs still run.
	Panicked
	// CrashLoaded means that the guest's kernel panicked and goes on into its
	// crash kernel (kexec), which deserves time to write its dump.
	CrashLoaded
)

// String names the event as in a log line.
func (e Event) String() string {
	switch e {
	case PowerOff:
		return "power-off"
	case Reset:
		return "reset"
	case Panicked:
		return "panicked"
	case CrashLoaded:
		return "crash-loaded"
	}
	return fmt.Sprintf("event(%d)", int(e))
}

// EventFunc hears of an Event. It is called on the vCPU thread that caused it,
// with no device lock held, and must not wait for vCPUs to stop: that thread is
// one of them. A guest may cause the same event many times.
type EventFunc func(Event)

// emit calls f if there is one.
func (f EventFunc) emit(e Event) {
	if f != nil {
		f(e)
	}
}
