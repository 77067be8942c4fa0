// Package pci is the modern virtio transport over PCI (virtio 1.2, section 4.1): a
// function with one memory BAR that holds all registers, and MSI-X.
//
//	guest -- write to a queue's notify address --> ioeventfd --> device
//	guest -- other registers --> devices/pci --> Transport --> virtio.Core --> device
//	guest <-- message <-- irqfd of a vector <-- device
//
// Package vm makes a [Transport] for each device and adds its function to the host
// bridge. There is no legacy interface, and no INTx: a driver that does not use
// MSI-X has to look at the ISR register by itself. The transport never looks into a
// queue and never knows what the device does.
package pci
