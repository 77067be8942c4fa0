// Package load makes load from inside a guest and measures it: requests to a block
// device with a given number under way at a time, and TCP streams and round trips
// to a host.
//
// The load program (cmd/load) calls it; package bench puts that program into the
// guests of all VMMs it compares, so that all are measured by the same means where
// fio and iperf3 are not at hand. It knows nothing of virtual machines.
package load
