// Package console is the virtio console (virtio 1.2, section 5.3): a terminal with
// a size, and further ports with names, which are pipes between host and guest.
//
//	device.go   the device: features, configuration, queues
//	control.go  control messages, parsed, and the state of ports that they make
//	port.go     one port: its two queues
//	output.go   what the guest wrote, on its way to the port's writer
//	input.go    what the host wrote, on its way to the guest
//
// Package vm makes the device; a transport drives it. Everything in between is
// bounded: a host that writes faster than the guest reads waits, and a guest that
// writes faster than the host reads waits as well. Only a console's output is
// dropped in the end, when nobody has taken any for a second: a kernel that prints
// waits with its interrupts off. Input is never dropped, not by a reset either.
package console
