// Package clitest runs scripts of gureum commands as tests. A test program that uses it
// is gureum, too, when it is called by that name.
package clitest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gureum/gureum/cmd/gureum/cli"
)

// Main is the TestMain of such a program. It does not return.
func Main(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"gureum": func() {
			os.Exit(cli.Main(os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
		},
	})
}

// Params are those of the scripts in a folder, each with a fleet of its own. load is the
// path of bin/load for programs in guests; a script has it as $LOAD.
func Params(dir, load string) testscript.Params {
	return testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_CACHE_HOME", env.WorkDir+"/cache")
			load, err := filepath.Abs(load)
			if err != nil {
				return err
			}
			env.Setenv("LOAD", load)
			return fleetDirs(env)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status":  statusCommand,
			"nothing": nothingCommand,
		},
	}
}

// ShareCache has all scripts use one cache, which spares each to unpack the kernel.
func ShareCache(p *testscript.Params, cache string) {
	setup := p.Setup
	p.Setup = func(env *testscript.Env) error {
		if err := setup(env); err != nil {
			return err
		}
		env.Setenv("XDG_CACHE_HOME", cache)
		return nil
	}
}

// fleetDirs gives a script a fleet of its own, and fails if anything of it is left.
func fleetDirs(env *testscript.Env) error {
	run, err := os.MkdirTemp("", "gur") // a short path, as sockets are below it
	if err != nil {
		return err
	}
	env.Setenv("GUREUM_STATE", env.WorkDir+"/state")
	env.Setenv("GUREUM_RUN", run)
	env.Setenv("GUREUM_WAIT", "5m") // a busy lab starts guests slowly
	env.Defer(func() {
		defer os.RemoveAll(run)
		left, err := filepath.Glob(filepath.Join(run, "vms", "*"))
		if err == nil && len(left) == 0 {
			return
		}
		env.T().Log("left behind: ", left, err)
		clearUp(env)
		env.T().FailNow()
	})
	// A program that was built for coverage complains without it.
	env.Setenv("GOCOVERDIR", env.WorkDir)
	return nil
}

// clearUp takes away what a script that failed has left, for the next ones not to fail of it.
func clearUp(env *testscript.Env) {
	script := `gureum rm -f $(gureum ps -aq); gureum network rm $(gureum network ls -q)`
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = env.Vars
	if out, err := cmd.CombinedOutput(); err != nil {
		env.T().Log("clear up: ", err, string(out))
	}
}

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
