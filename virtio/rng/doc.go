// Package rng is the virtio entropy device (virtio 1.2, section 5.4): it fills the
// driver's buffers with bytes of the host's getrandom(2).
//
// Each device of package virtio is built like this one: device.go is the device
// itself, request.go turns a chain into a typed request and carries it out, and
// both are tested from the driver's side. Package vm makes the device; a transport
// drives it. It never reads what the guest wrote, never gives more than the rate
// limit allows, and never works for a guest longer than one bounded request at a
// time.
package rng
