package main

// The Go runtime gets its first memory before any Go code runs, and on a host that gives huge
// pages to all (/sys/kernel/mm/transparent_hugepage/enabled) it fills two or three of them with
// little: up to 6 MiB of every VMM, and what it takes to clear them is a quarter of the way to
// the guest's first instruction. So the Makefile has the linker begin the program with entry,
// which Go code never calls. Commands that make no machine have huge pages again as they begin
// (package cli), machines for their memory (package vm). Without the linker's flag nothing of
// that happens.
func entry()

var _ = entry // the linker is to find it
