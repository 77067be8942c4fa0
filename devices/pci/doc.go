// Package pci is a PCI host bridge with one bus, and what its functions have in
// common: configuration space, base address registers and MSI-X.
//
//	vCPU -- ports 0xCF8, 0xCFC --> Host --+
//	vCPU -- ECAM --------------> Host ----+--> Function (configuration space)
//	vCPU -- memory window -----> Host -------> Function -> Handler (what is in a BAR)
//	                                              MSIX -> Router -> KVM's GSI routes
//
// Package vm makes a [Host], puts its three faces on the buses and adds functions;
// virtio/pci is what they carry. The bus they lie on does not change after the
// boot, so what the guest moves (BARs) is found in a table of the Host's own, which
// is replaced as a whole and read without a lock.
//
// All functions are conventional ones on bus 0, without I/O ports and without
// interrupt pins: interrupts are messages. This package never reads guest memory,
// and never lets a BAR reach out of the window.
//
// Sections are those of the PCI Local Bus Specification 3.0, unless said otherwise.
package pci
