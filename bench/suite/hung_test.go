package suite

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// scripted is a run whose loads are a script, made by the host.
func scripted(t *testing.T, script string) (*run, subject) {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "load")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return &run{stage: &stage{gureum: program, dir: dir}}, subject{name: HostPeer, host: true}
}

// TestLimit: a load that does not end is ended, and the error says whether it waited or spun.
func TestLimit(t *testing.T) {
	for script, spins := range map[string]bool{"echo begun; sleep 1000": false, "echo begun; while :; do :; done": true} {
		r, s := scripted(t, script)
		r.limit = 3 * time.Second
		_, err := r.runLoad(t.Context(), s, "", nil, nil)
		var hung *hungError
		if !errors.As(err, &hung) || !strings.Contains(err.Error(), "begun") {
			t.Errorf("%s: %v", script, err)
			continue
		}
		// A busy machine may not let it spin for long.
		if spins && hung.used == 0 || !spins && (hung.spins() || !strings.Contains(err.Error(), "it waits:")) {
			t.Errorf("%s: %v", script, err)
		}
	}
}

// TestNoLimit: a load that is ended otherwise did not hang.
func TestNoLimit(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, s := scripted(t, "exec sleep 1000")
	time.AfterFunc(100*time.Millisecond, cancel)
	_, err := r.runLoad(ctx, s, "", nil, nil)
	var hung *hungError
	if err == nil || errors.As(err, &hung) {
		t.Errorf("error %v", err)
	}
}
