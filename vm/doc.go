// Package vm is the composition root: it turns a Config into a running
// machine and owns its life cycle.
//
//	Config --Validate--> New --> Start --> Wait --> Outcome
//	                      |        |
//	                      |        +-- Pause / Resume / Stop
//	                      +-- guest (memory, kernel, tables, initrd)
//	                          devices (bus, serial, ACPI, RTC, ...)
//	                          vcpu (threads) -> kvm
//
// The command line (package cmd) and, later, fleet call it. A Machine is one
// virtual machine in this process; a fault stays in it. Package vm never
// parses command lines, never prints, and never reads a terminal: it is given
// readers and writers.
package vm
