package vcpu

// hostCPUID executes CPUID on the host. Only for what describes the processor and is no
// feature: those are KVM's to grant.
//
//go:noescape
func hostCPUID(leaf, subleaf uint32) (eax, ebx, ecx, edx uint32)
