package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
)

// statusCommand runs a program and compares its exit status:
//
//	status 2 gureum run --cpus 0
//
// Its output can then be looked at with stdout and stderr.
func statusCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
		err = nil
	}
	ts.Check(err)
	if got != want {
		ts.Fatalf("status %d, want %d\nstderr: %s", got, want, ts.ReadFile("stderr"))
	}
}

// nothingCommand fails if there is anything in a directory.
func nothingCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: nothing DIR")
	}
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	ts.Check(err)
	for _, e := range entries {
		ts.Fatalf("%s is left behind", filepath.Join(args[0], e.Name()))
	}
}
