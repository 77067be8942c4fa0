package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gureum/gureum/cmd/gureum/cli/clitest"
)

func TestMain(m *testing.M) { clitest.Main(m) }

// TestInput runs the scripts in testdata/input: what gureum answers before it
// looks at the host.
func TestInput(t *testing.T) {
	testscript.Run(t, clitest.Params("testdata/input", load))
}

// load is the program that guests run.
const load = "../../bin/load"
