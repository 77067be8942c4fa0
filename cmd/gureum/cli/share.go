package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/gureum/gureum/vm"
)

// addShareFlags adds the flags of shared folders.
func (o *runOptions) addShareFlags(f *pflag.FlagSet) {
	f.Var((*shareList)(&o.config.Shares), "share", "share a folder, `HOSTDIR:TAG[:ro]`, which the embedded guest has at /mnt/TAG; others: mount -t virtiofs TAG DIR")
}

// shareList is a flag that may be repeated.
type shareList []vm.Share

// String is the flag's default.
func (l *shareList) String() string { return "" }

// Type names the value in help texts.
func (l *shareList) Type() string { return "HOSTDIR:TAG[:ro]" }

// Set reads HOSTDIR:TAG[:ro]. The folder may have colons in its name, a tag cannot
// be called ro.
func (l *shareList) Set(v string) error {
	rest, readOnly := strings.CutSuffix(v, ":ro")
	at := strings.LastIndexByte(rest, ':')
	if at <= 0 || at == len(rest)-1 {
		return fmt.Errorf("%q: give HOSTDIR:TAG or HOSTDIR:TAG:ro", v)
	}
	*l = append(*l, vm.Share{Dir: rest[:at], Tag: rest[at+1:], ReadOnly: readOnly})
	return nil
}
