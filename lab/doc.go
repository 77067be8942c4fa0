// Package lab runs a command on a host with hardware-style KVM on a machine
// that has none.
//
// The host (called L1) is a stock Debian kernel under QEMU's emulator, which
// models AMD SVM with nested paging. Its root file system is this machine's
// own, read-only with a scratch layer on top, so whatever was built here runs
// there by its path, with a complete /dev/kvm beside it.
//
// cmd/lab is the only caller. The package never changes the machine it runs
// on: kernels are downloaded with the Debian package client into the user's
// cache folder and never installed, and nothing that a command writes in L1
// outlives it, except below folders shared on purpose.
package lab
