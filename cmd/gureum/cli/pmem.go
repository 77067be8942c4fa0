package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/gureum/gureum/vm"
)

// addPMEMFlags adds the flags of persistent memory.
func (o *runOptions) addPMEMFlags(f *pflag.FlagSet) {
	f.Var((*pmemList)(&o.config.PMEM), "pmem", "map `FILE[,ro]` into the guest as persistent memory (/dev/pmem0, ...)")
}

// pmemList is a flag that may be repeated.
type pmemList []vm.PMEM

// String is the flag's default.
func (l *pmemList) String() string { return "" }

// Type names the value in help texts.
func (l *pmemList) Type() string { return "FILE[,ro]" }

// Set reads FILE[,ro].
func (l *pmemList) Set(v string) error {
	path, mode, _ := strings.Cut(v, ",")
	switch mode {
	case "", "ro":
	default:
		return fmt.Errorf("%q is no option: give ro or leave it out", mode)
	}
	if path == "" {
		return fmt.Errorf("%q names no file", v)
	}
	*l = append(*l, vm.PMEM{Path: path, ReadOnly: mode == "ro"})
	return nil
}
