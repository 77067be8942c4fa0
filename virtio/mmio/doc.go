// Package mmio is the virtio transport over memory-mapped registers, version 2
// (virtio 1.2, section 4.2): registers and one interrupt for a device.
//
//	guest -- write QueueNotify --> ioeventfd (one a queue) --> device
//	guest -- other writes -------> Transport --> virtio.Core --> device
//	guest <-- reads -------------- a page that Transport keeps up to date
//	guest <-- edge on the GSI ---- irqfd <---- device
//
// Package vm makes a [Transport] for each device, puts it on the MMIO bus, and
// tells the guest where it is: by ACPI (LNRO0005), or on the kernel's command line.
//
// Drivers read InterruptStatus and write InterruptACK for each interrupt, which
// costs two exits to user space elsewhere. Here the guest reads memory, and KVM
// swallows the acknowledgement of used buffers: no exit to user space is left on the
// data path.
//
// The transport never looks into a queue and never knows what the device does.
package mmio
