// Package e2e has the end-to-end tests of the fleet: commands as users give them, real
// guests, and processes that are killed, in the lab or on a host with KVM.
package e2e
