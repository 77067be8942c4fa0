package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestKVMScripts runs the scripts in testdata/kvm: what a user sees of machines
// that run.
func TestKVMScripts(t *testing.T) {
	p := params("testdata/kvm")
	cache := t.TempDir()
	setup := p.Setup
	p.Setup = func(env *testscript.Env) error {
		if err := setup(env); err != nil {
			return err
		}
		env.Setenv("XDG_CACHE_HOME", cache)
		return nil
	}
	testscript.Run(t, p)
}
