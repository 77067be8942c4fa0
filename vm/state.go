package vm

// State is where a machine is in its life: created, running, paused, stopped.
//
//	Created -Start-> Running -Pause-> Paused -Resume-> Running
//	   |                |                |
//	   +------Stop------+------Stop------+-----------> Stopped
type State int

// The states of a machine.
const (
	Created State = iota
	Running
	Paused
	Stopped
)

func (s State) String() string {
	switch s {
	case Created:
		return "created"
	case Running:
		return "running"
	case Paused:
		return "paused"
	case Stopped:
		return "stopped"
	}
	return "in an unknown state"
}

// Reason says why a machine stopped.
type Reason int

// The reasons for which a machine stops.
const (
	// PoweredOff: the guest switched itself off (ACPI S5).
	PoweredOff Reason = iota + 1
	// Rebooted: the guest asked for a reset (ACPI reset register, i8042, port
	// 0x92).
	Rebooted
	// Panicked: the guest's kernel reported a panic through pvpanic.
	Panicked
	// TripleFaulted: a CPU shut down on a triple fault.
	TripleFaulted
	// Killed: Stop ended the machine.
	Killed
	// Failed: KVM could not go on; Outcome.Err has registers and code.
	Failed
)

func (r Reason) String() string {
	switch r {
	case PoweredOff:
		return "poweroff"
	case Rebooted:
		return "reboot"
	case Panicked:
		return "panic"
	case TripleFaulted:
		return "triple-fault"
	case Killed:
		return "killed"
	case Failed:
		return "failed"
	}
	return "unknown"
}

// Outcome is how a machine ended.
type Outcome struct {
	Reason Reason
	// Err has the details of TripleFaulted and Failed; nil otherwise.
	Err error
}

// Event is a stage that a machine reached.
type Event int

// The stages of a machine's start.
const (
	// EventKernelLoaded: the kernel and initial RAM disk are in guest memory.
	EventKernelLoaded Event = iota + 1
	// EventStarted: the virtual CPUs run.
	EventStarted
	// EventGuestPanic: the guest reported a panic; it may still dump.
	EventGuestPanic
	// EventGuestShutdown: the guest is on its way off.
	EventGuestShutdown
)

func (e Event) String() string {
	switch e {
	case EventKernelLoaded:
		return "kernel loaded"
	case EventStarted:
		return "started"
	case EventGuestPanic:
		return "guest panicked"
	case EventGuestShutdown:
		return "guest shut down"
	}
	return "unknown"
}
