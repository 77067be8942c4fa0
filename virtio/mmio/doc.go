// Package mmio is the virtio transport over memory-mapped registers, version 2
// (virtio 1.2, section 4.2): one page of registers and one interrupt for a device.
//
//	guest -- write QueueNotify --> ioeventfd (one a queue) --> device
//	guest -- other registers ----> Transport --> virtio.Core --> device
//	guest <-- edge on the GSI ---- irqfd <---- device
//
// Package vm makes a [Transport] for each device, puts it on the MMIO bus, and
// tells the guest where it is: by ACPI (LNRO0005), or on the kernel's command line.
// The transport never looks into a queue and never knows what the device does.
package mmio
