package vcpu

import (
	"fmt"

	"github.com/gureum/gureum/kvm"
)

// Flags of KVM_CAP_X2APIC_API (Documentation/virt/kvm/api.rst, 7.5).
const (
	x2APIC32BitIDs         = 1 << 0
	x2APICNoBroadcastQuirk = 1 << 1
)

// setup makes all vCPUs.
func (g *Group) setup(sys *kvm.System, vm *kvm.VM) error {
	x2APIC := g.topology.maxAPICID() > xAPICMax
	if x2APIC {
		if err := vm.EnableCap(kvm.CapX2APICAPI, x2APIC32BitIDs|x2APICNoBroadcastQuirk); err != nil {
			return fmt.Errorf("APIC ids above %d: %w", xAPICMax, err)
		}
	}
	indices, err := sys.MSRIndexList()
	if err != nil {
		return err
	}
	known := msrSet(indices)
	var cpuid []kvm.CPUIDEntry
	var msrs []kvm.MSREntry
	for i := range g.cfg.CPUs {
		v, err := vm.CreateVCPU(int(g.topology.APICID(i)))
		if err != nil {
			return err
		}
		g.cpus = append(g.cpus, &cpu{group: g, index: i, m: v, vcpu: v})
		if g.cpuid == nil {
			if err := g.makeCPUID(sys, vm, v); err != nil {
				return err
			}
		}
		cpuid = g.cpuid.forCPU(cpuid, i)
		if err := v.SetCPUID2(cpuid); err != nil {
			return err
		}
		if msrs == nil {
			if msrs, err = g.makeMSRs(v, known); err != nil {
				return err
			}
		}
		if err := prepare(v, msrs, x2APIC, i == 0); err != nil {
			return err
		}
	}
	return nil
}

// makeCPUID makes the CPUID table; the first vCPU tells the frequency of the guest's TSC.
func (g *Group) makeCPUID(sys *kvm.System, vm *kvm.VM, v *kvm.VCPU) error {
	supported, err := sys.SupportedCPUID()
	if err != nil {
		return err
	}
	o := cpuidOptions{topology: g.topology, features: g.cfg.Features, host: hostCPUID}
	if khz, err := v.TSCKHz(); err == nil && khz > 0 { // a host with an unstable TSC tells none
		o.tscKHz = uint32(khz)
	}
	deadline, err := vm.CheckExtension(kvm.CapTSCDeadlineTimer)
	if err != nil {
		return err
	}
	o.tscDeadline = deadline != 0
	g.cpuid, err = newCPUID(supported, o)
	return err
}

// makeMSRs gives the boot values, which are the same for all vCPUs.
func (g *Group) makeMSRs(v *kvm.VCPU, known msrSet) ([]kvm.MSREntry, error) {
	misc := []kvm.MSREntry{{Index: msrMiscEnable}}
	if known.has(msrMiscEnable) {
		if _, err := v.MSRs(misc); err != nil {
			return nil, err
		}
	}
	mtrr := g.cpuid.find(leafFeatures, 0).EDX&edx1MTRR != 0
	g.stateMSRs = stateMSRs(known, mtrr)
	return bootMSRs(known, mtrr, misc[0].Data), nil
}

// prepare sets one vCPU up as firmware leaves it.
func prepare(v *kvm.VCPU, msrs []kvm.MSREntry, x2APIC, bsp bool) error {
	if x2APIC {
		s, err := v.Sregs()
		if err != nil {
			return err
		}
		s.ApicBase |= apicBaseX2APIC
		if err := v.SetSregs(&s); err != nil {
			return fmt.Errorf("switch to x2APIC mode: %w", err)
		}
	}
	if _, err := v.SetMSRs(msrs); err != nil {
		return err
	}
	lapic, err := v.LAPIC()
	if err != nil {
		return fmt.Errorf("%w (make the irqchip before the vcpus)", err)
	}
	setLocalInterrupts(&lapic, bsp)
	return v.SetLAPIC(&lapic)
}

// SetEntry puts the boot CPU at the kernel's entry point. Allowed before Start.
func (g *Group) SetEntry(e Entry) error {
	g.op.Lock()
	defer g.op.Unlock()
	if err := g.expect("set entry", StateCreated); err != nil {
		return err
	}
	if err := e.check(); err != nil {
		return fmt.Errorf("set entry: %w", err)
	}
	v := g.cpus[0].vcpu
	s, err := v.Sregs()
	if err != nil {
		return err
	}
	var r kvm.Regs
	e.apply(&r, &s)
	if err := v.SetSregs(&s); err != nil {
		return err
	}
	return v.SetRegs(&r)
}
