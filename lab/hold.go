package lab

import (
	"errors"
	"fmt"
	"io"

	"github.com/gureum/gureum/kvm"
)

// apicEnable is the bit of IA32_APIC_BASE that turns a local APIC on (Intel
// SDM volume 3, 11.4.4).
const apicEnable = 1 << 11

// holdKVM keeps machines that never run, for as long as L1 lives.
//
// KVM counts machines, and CPUs without a usual local APIC, with static keys:
// the first of a kind makes the host's kernel rewrite its own code, the last
// one's end writes it back. QEMU before 8.1 can miss such a write while another
// emulated CPU is translating the same page (it took its page lock only after
// reading the code), and then that CPU meets the same INT3 for ever: L1 stands
// still. A host that always has one of each kind never rewrites.
func holdKVM() (held []io.Closer, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("hold KVM: %w", err), closeAll(held))
			held = nil
		}
	}()
	sys, err := kvm.Open("/dev/kvm")
	if err != nil {
		return nil, err
	}
	held = append(held, sys)
	for _, chip := range []bool{false, true} {
		vm, err := sys.CreateVM()
		if err != nil {
			return held, err
		}
		held = append(held, vm)
		cpu, err := holdCPU(vm, chip)
		if err != nil {
			return held, err
		}
		held = append(held, cpu)
	}
	return held, nil
}

// holdCPU makes a CPU without a local APIC, or with one that both its software
// and its hardware switch turn off.
func holdCPU(vm *kvm.VM, chip bool) (*kvm.VCPU, error) {
	if !chip {
		return vm.CreateVCPU(0)
	}
	if err := vm.CreateIRQChip(); err != nil {
		return nil, err
	}
	cpu, err := vm.CreateVCPU(0) // off by software until its guest writes SVR
	if err != nil {
		return nil, err
	}
	regs, err := cpu.Sregs()
	if err == nil {
		regs.ApicBase &^= apicEnable
		err = cpu.SetSregs(&regs)
	}
	if err != nil {
		return nil, errors.Join(err, cpu.Close())
	}
	return cpu, nil
}

// closeAll closes the last first.
func closeAll(list []io.Closer) error {
	var errs []error
	for i := range list {
		errs = append(errs, list[len(list)-1-i].Close())
	}
	return errors.Join(errs...)
}
