package cli

import "testing"

func TestCutMachine(t *testing.T) {
	for arg, want := range map[string]struct {
		machine, path string
		is            bool
	}{
		"web:/etc":   {"web", "/etc", true},
		"web:":       {"web", "", true},
		"./web:/etc": {"", "./web:/etc", false},
		":/etc":      {"", ":/etc", false},
		"file":       {"", "file", false},
		"/a:b":       {"", "/a:b", false},
	} {
		machine, path, is := cutMachine(arg)
		if machine != want.machine || path != want.path || is != want.is {
			t.Errorf("%q: %q, %q, %v", arg, machine, path, is)
		}
	}
}
