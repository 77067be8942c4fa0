package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gureum/gureum/cmd/gureum/cli/clitest"
)

// TestKVMScripts runs the scripts in testdata/kvm: what a user sees of machines
// that run.
func TestKVMScripts(t *testing.T) {
	p := clitest.Params("testdata/kvm", load)
	clitest.ShareCache(&p, t.TempDir())
	testscript.Run(t, p)
}
