package vm

import (
	"fmt"

	"github.com/gureum/gureum/kvm"
)

// picIMR is the place of the interrupt mask register in struct kvm_pic_state
// (arch/x86/include/uapi/asm/kvm.h).
const picIMR = 2

// maskPICs masks all inputs of both 8259A, as firmware leaves them. KVM makes them
// unmasked, with vectors from 0 on. A kernel that trusts hardware-reduced ACPI
// never touches them, so edges of the serial ports stay pending there, and when
// that kernel shuts down and gives LINT0 back to the PICs, they arrive as CPU
// exceptions. Kernels that do use the PICs set the masks themselves.
func maskPICs(v *kvm.VM) error {
	for _, id := range []uint32{kvm.PICMaster, kvm.PICSlave} {
		state, err := v.IRQChip(id)
		if err != nil {
			return fmt.Errorf("read PIC %d: %w", id, err)
		}
		state.Chip[picIMR] = 0xFF
		if err := v.SetIRQChip(&state); err != nil {
			return fmt.Errorf("mask PIC %d: %w", id, err)
		}
	}
	return nil
}
