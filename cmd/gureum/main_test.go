package main

import (
	"os"
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
			// A program that was built for coverage complains without it.
			env.Setenv("GOCOVERDIR", env.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status":  statusCommand,
			"nothing": nothingCommand,
		},
	}
}
