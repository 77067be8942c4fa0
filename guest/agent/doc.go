// Package agent speaks the framed protocol between the hypervisor and the
// program that runs commands inside a guest.
//
// The host side is [Client]: vm dials it over whatever ordered byte stream
// reaches the guest (the second UART, a virtio-serial port, vsock) and runs
// commands. The guest side is [Serve]: the default guest's init calls it, and
// a small static binary can call it in any other Linux. The protocol itself,
// byte by byte, is docs/agent-protocol.md.
//
// The package never trusts its peer: every length is checked against a
// constant before anything is allocated, each stream buffers at most the
// window that its receiver announced, and a peer that breaks a rule gets a
// [ProtocolError], not a retry. It knows nothing of virtual machines and
// imports nothing of the rest of this module.
package agent
