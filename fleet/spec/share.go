package spec

import (
	"fmt"
	"strings"

	"github.com/gureum/gureum/vm"
)

// parseShare reads HOSTDIR:TAG[:ro]. The folder may have colons in its name, a tag
// cannot be called ro.
func parseShare(s string) (vm.Share, error) {
	rest, readOnly := strings.CutSuffix(s, ":ro")
	at := strings.LastIndexByte(rest, ':')
	if at <= 0 || at == len(rest)-1 {
		return vm.Share{}, fmt.Errorf("share %q: give HOSTDIR:TAG or HOSTDIR:TAG:ro", s)
	}
	return vm.Share{Dir: rest[:at], Tag: rest[at+1:], ReadOnly: readOnly}, nil
}
