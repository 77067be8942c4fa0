// Package vcpu runs a virtual machine's processors: what CPUID and the MSRs show, the state in
// which a kernel is entered, the KVM_RUN loop on one locked OS thread a vCPU, the hand-over of
// port and memory exits to the bus, pause and resume, save and restore, and a readable account
// of why a guest died.
//
//	New -> SetEntry -> Start -> Pause <-> Resume -> Stop -> Close
//	                     |
//	                     +-- a thread a vCPU: KVM_RUN -> exit -> Bus, until kicked or dead
//
// Package vm builds a Group from a configured kvm.VM, whose in-kernel interrupt controllers
// exist already, and is told through Config.OnStop when the guest ended by itself. Package vcpu
// never touches guest memory but through Config.CodeReader, knows no device and no boot
// protocol's data structures, and never decides what a reset or a triple fault means for the
// machine.
//
// # Kicking a vCPU
//
// Whoever wants a vCPU's thread notes what for, sets immediate_exit and then sends SIGURG to
// the thread, in this order. KVM looks at immediate_exit when it is called and at pending signals each
// time before it enters the guest, so one of the two ends the call whatever the timing: no
// wake-up is lost and nobody polls. SIGURG, because the Go runtime has a harmless handler for
// it in every program (it is its own preemption signal), because it does not queue, and because
// KVM_RUN ends with EINTR for any handled signal, SA_RESTART or not.
//
// The thread looks at the request only after KVM_RUN gave EINTR. By then KVM has completed the
// port or memory access of the last exit, so a paused vCPU's registers are always between two
// instructions and may be saved.
package vcpu
