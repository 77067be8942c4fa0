package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gureum/gureum/cmd/gureum/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"gureum": func() {
			os.Exit(cli.Main(os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
		},
	})
}

// TestInput runs the scripts in testdata/input: what gureum answers before it
// looks at the host.
func TestInput(t *testing.T) {
	testscript.Run(t, params("testdata/input"))
}

func params(dir string) testscript.Params {
	return testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_CACHE_HOME", env.WorkDir+"/cache")
			load, err := filepath.Abs("../../bin/load") // for programs in guests
			if err != nil {
				return err
			}
			env.Setenv("LOAD", load)
			return fleetDirs(env)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status":  statusCommand,
			"nothing": nothingCommand,
			"trials":  trialsCommand,
			"judge":   judgeCommand,
		},
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
	env.Defer(func() {
		left, err := filepath.Glob(filepath.Join(run, "vms", "*"))
		if err != nil || len(left) > 0 {
			env.T().Log("left behind: ", left, err)
			env.T().FailNow()
		}
		_ = os.RemoveAll(run)
	})
	// A program that was built for coverage complains without it.
	env.Setenv("GOCOVERDIR", env.WorkDir)
	return nil
}
