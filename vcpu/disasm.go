package vcpu

import (
	"fmt"

	"golang.org/x/arch/x86/x86asm"
)

// disassemble gives the first instruction of code in Intel syntax. It is the only user of
// x86asm, whose tables add some 0.5 MB to the binary, of which a page is only read when used.
func disassemble(code []byte, bits int, ip uint64) (text string) {
	// The decoder is not ours and the bytes are the guest's.
	defer func() {
		if recover() != nil {
			text = "(not decodable)"
		}
	}()
	inst, err := x86asm.Decode(code, bits)
	if err != nil {
		return fmt.Sprintf("(not decodable: %v)", err)
	}
	if inst.Op == 0 { // nothing but prefixes
		return "(not decodable)"
	}
	return x86asm.IntelSyntax(inst, ip, nil)
}
