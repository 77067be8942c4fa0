package e2e

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gureum/gureum/cmd/gureum/cli/clitest"
)

func TestMain(m *testing.M) { clitest.Main(m) }

// TestKVMScripts runs the scripts in testdata: what a user sees of machines on networks,
// and what a guest and a jailed VMM cannot do.
func TestKVMScripts(t *testing.T) {
	p := params("testdata")
	clitest.ShareCache(&p, t.TempDir())
	testscript.Run(t, p)
}

func params(dir string) testscript.Params {
	p := clitest.Params(dir, "../../bin/load")
	p.Cmds["trials"], p.Cmds["judge"] = trialsCommand, judgeCommand
	return p
}
