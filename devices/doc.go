// Package devices holds what a PC has besides CPUs and RAM: the buses that
// carry port and memory accesses, and the platform devices behind them.
//
//	vCPU exit -> Bus (PIO or MMIO) -> Device.Read / Device.Write
//	                                     |-> Interrupt (edge, a GSI)
//	                                     |-> EventFunc (power off, reset, panic)
//
// The machine (package vm) builds the devices, registers them on a Bus, seals
// the bus and hands it to the vCPUs. From then on Read and Write are called from
// vCPU threads, several at once.
//
// What this package never does: it never talks to KVM, never reads guest memory,
// never blocks a vCPU thread on anything outside the process, and never trusts a
// value that the guest wrote. Register accesses do not allocate.
//
// # Files
//
// Every device keeps the same split: NAME.go (what it is, how it is made, Read and
// Write), NAME_regs.go (registers, with the section of the specification),
// NAME_state.go (Save and Restore), NAME_test.go and NAME_fuzz_test.go. What is too
// long for NAME.go has a file of its own, such as serial_tx.go. The devices that are
// a single port share port.go.
package devices
