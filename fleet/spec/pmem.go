package spec

import (
	"fmt"
	"strings"

	"github.com/gureum/gureum/vm"
)

// parsePMEM reads FILE[,ro].
func parsePMEM(s string) (vm.PMEM, error) {
	path, mode, _ := strings.Cut(s, ",")
	switch {
	case mode != "" && mode != "ro":
		return vm.PMEM{}, fmt.Errorf("pmem: %q is no option: give ro or leave it out", mode)
	case path == "":
		return vm.PMEM{}, fmt.Errorf("pmem: %q names no file", s)
	}
	return vm.PMEM{Path: path, ReadOnly: mode == "ro"}, nil
}
