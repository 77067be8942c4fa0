package devices

import "fmt"

// ACPIState is the state of an ACPI.
type ACPIState struct {
	SleepType uint8  // SLP_TYP as last written
	Awake     bool   // WAK_STS
	Pending   uint32 // GED events that the guest has yet to read
}

// Save returns the state.
func (a *ACPI) Save() ACPIState {
	a.mu.Lock()
	defer a.mu.Unlock()
	return ACPIState{SleepType: a.sleepType, Awake: a.awake, Pending: a.pending}
}

// Restore sets the state, and raises the interrupt if an event is pending.
func (a *ACPI) Restore(st ACPIState) error {
	if st.SleepType > slpTypeMask {
		return fmt.Errorf("restore acpi: sleep type is %d: %w", st.SleepType, ErrBadState)
	}
	a.mu.Lock()
	a.sleepType, a.awake, a.pending = st.SleepType, st.Awake, st.Pending
	a.mu.Unlock()
	if st.Pending != 0 {
		a.line.fire()
	}
	return nil
}
