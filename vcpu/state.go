package vcpu

import (
	"errors"
	"fmt"

	"github.com/gureum/gureum/kvm"
)

// CPUState is all that KVM keeps of one vCPU, between two instructions.
type CPUState struct {
	APICID    uint32
	TSCKHz    uint32 // 0 if the host does not tell
	CPUID     []kvm.CPUIDEntry
	MP        kvm.MPState
	Regs      kvm.Regs
	Sregs     kvm.Sregs
	XSave     []byte // x87, SSE and what XSAVE adds; its size is the host's
	XCRs      kvm.XCRs
	DebugRegs kvm.DebugRegs
	LAPIC     kvm.LAPICState
	MSRs      []kvm.MSREntry
	Events    kvm.VCPUEvents
}

// ErrNestedState is given by Save for guests that Features.Nested lets run guests of their own:
// what KVM keeps for those is not saved.
var ErrNestedState = errors.New("guests with nested virtualization cannot be saved")

// Save reads the state of all vCPUs. Allowed while paused, and before Start or after the stop.
func (g *Group) Save() ([]CPUState, error) {
	g.op.Lock()
	defer g.op.Unlock()
	if err := g.expect("save", StatePaused, StateCreated, StateStopped); err != nil {
		return nil, err
	}
	if g.cfg.Features.Nested {
		return nil, ErrNestedState
	}
	states := make([]CPUState, len(g.cpus))
	// For all of them before anything else is read of any: see save.
	for i, c := range g.cpus {
		mp, err := c.vcpu.MPState()
		if err != nil {
			return nil, err
		}
		states[i].MP = mp
	}
	for i, c := range g.cpus {
		if err := g.save(c.vcpu, &states[i]); err != nil {
			return nil, fmt.Errorf("save: %w", err)
		}
	}
	return states, nil
}

// save reads one vCPU. MPState was read before all else, because it makes KVM take pending
// INITs and SIPIs, which changes the rest; events come last, because reading some of the
// others may change what is pending.
func (g *Group) save(v *kvm.VCPU, s *CPUState) (err error) {
	s.APICID = uint32(v.ID())
	if khz, err := v.TSCKHz(); err == nil && khz > 0 {
		s.TSCKHz = uint32(khz)
	}
	if s.CPUID, err = v.CPUID2(); err != nil {
		return err
	}
	if s.Regs, err = v.Regs(); err != nil {
		return err
	}
	if s.Sregs, err = v.Sregs(); err != nil {
		return err
	}
	if s.XSave, err = v.XSave(); err != nil {
		return err
	}
	if s.XCRs, err = v.XCRs(); err != nil {
		return err
	}
	if s.DebugRegs, err = v.DebugRegs(); err != nil {
		return err
	}
	if s.LAPIC, err = v.LAPIC(); err != nil {
		return err
	}
	if s.MSRs, err = g.saveMSRs(v); err != nil {
		return err
	}
	s.Events, err = v.Events()
	return err
}

// saveMSRs reads the MSRs. Those that KVM lists but refuses for this guest's CPUID are left out
// of this and all later reads.
func (g *Group) saveMSRs(v *kvm.VCPU) ([]kvm.MSREntry, error) {
	for {
		entries := make([]kvm.MSREntry, len(g.stateMSRs))
		for i, index := range g.stateMSRs {
			entries[i].Index = index
		}
		n, err := v.MSRs(entries)
		if err == nil {
			return entries, nil
		}
		var refused *kvm.MSRError
		if !errors.As(err, &refused) || n >= len(g.stateMSRs) {
			return nil, err
		}
		g.stateMSRs = append(g.stateMSRs[:n], g.stateMSRs[n+1:]...)
	}
}

// Restore puts a saved state into the vCPUs, in place of SetEntry. The group must have as many
// vCPUs with the same APIC ids, and KVM must take the saved CPUID and MSRs. Allowed before Start
// and while paused. After an error the vCPUs are in no useful state.
func (g *Group) Restore(states []CPUState) error {
	g.op.Lock()
	defer g.op.Unlock()
	if err := g.expect("restore", StateCreated, StatePaused); err != nil {
		return err
	}
	if len(states) != len(g.cpus) {
		return fmt.Errorf("restore: state of %d vcpus for %d", len(states), len(g.cpus))
	}
	for i, c := range g.cpus {
		if id := uint32(c.vcpu.ID()); states[i].APICID != id {
			return fmt.Errorf("restore: state of APIC id %d for vcpu %d, which has %d", states[i].APICID, i, id)
		}
	}
	fresh := g.State() == StateCreated
	for i, c := range g.cpus {
		if err := restore(c.vcpu, &states[i], fresh, i == 0); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
	}
	return nil
}

// restore writes one vCPU. The order is KVM's: CPUID says which registers and bits exist; Sregs
// have the APIC base and so the mode in which LAPIC is read; LAPIC has the timer's mode, on which
// the TSC deadline among the MSRs depends; Regs would clear what Events puts in; MP state comes
// after Sregs, which may wake a vCPU at the reset vector.
func restore(v *kvm.VCPU, s *CPUState, fresh, first bool) error {
	if fresh { // KVM does not take another CPUID once the vCPU ran
		if err := v.SetCPUID2(s.CPUID); err != nil {
			return err
		}
		if err := restoreTSC(v, s.TSCKHz); err != nil {
			return err
		}
	}
	if err := v.SetSregs(&s.Sregs); err != nil {
		return err
	}
	if err := v.SetRegs(&s.Regs); err != nil {
		return err
	}
	if err := v.SetXCRs(&s.XCRs); err != nil {
		return err
	}
	if err := v.SetXSave(s.XSave); err != nil {
		return err
	}
	if err := v.SetDebugRegs(&s.DebugRegs); err != nil {
		return err
	}
	if err := v.SetLAPIC(&s.LAPIC); err != nil {
		return err
	}
	if err := restoreMSRs(v, s.MSRs, first); err != nil {
		return err
	}
	if err := v.SetMPState(s.MP); err != nil {
		return err
	}
	return v.SetEvents(&s.Events)
}

// restoreMSRs writes the MSRs, the TSC twice on the first vCPU. KVM takes a TSC within a second
// of what the other vCPUs have for an attempt to synchronise them, and gives the vCPU theirs.
// That is right for the vCPUs that follow, and wrong for the first, whose TSC may be close
// to what this new machine counted so far: a first write, far off, breaks with that.
func restoreMSRs(v *kvm.VCPU, msrs []kvm.MSREntry, first bool) error {
	const farOff = 1 << 41 // ticks: minutes, whatever the frequency
	if first && len(msrs) > 0 && msrs[0].Index == msrTSC {
		if _, err := v.SetMSRs([]kvm.MSREntry{{Index: msrTSC, Data: msrs[0].Data + farOff}}); err != nil {
			return err
		}
	}
	_, err := v.SetMSRs(msrs)
	return err
}

// restoreTSC sets the frequency only where it differs: not every host can.
func restoreTSC(v *kvm.VCPU, khz uint32) error {
	if khz == 0 {
		return nil
	}
	if now, err := v.TSCKHz(); err == nil && now == int(khz) {
		return nil
	}
	return v.SetTSCKHz(int(khz))
}
