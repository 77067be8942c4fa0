package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/gureum/gureum/vm"
)

// addVsockFlags adds the flags of the socket device.
func (o *runOptions) addVsockFlags(f *pflag.FlagSet) {
	f.Var((*vsockValue)(&o.config.Vsock), "vsock", "let programs of the host and the guest talk: PATH, a Unix socket to be made "+
		"(write \"CONNECT port\" to it first; the guest's connections to port N of CID 2 go to PATH_N), "+
		"or vhost, for AF_VSOCK on the host; ,cid=N is the guest's address (default 3)")
}

// vsockValue reads --vsock.
type vsockValue vm.Vsock

// String prints the flag's default.
func (v *vsockValue) String() string { return "" }

// Type names the value in help texts.
func (v *vsockValue) Type() string { return "SOCKET" }

// Set reads PATH[,cid=N] or vhost[,cid=N].
func (v *vsockValue) Set(s string) error {
	words := strings.Split(s, ",")
	out := vsockValue{On: true}
	for i, word := range words {
		key, value, assigned := strings.Cut(word, "=")
		switch {
		case word == "vhost":
			out.Vhost = true
		case i > 0 && assigned && key == "cid":
			cid, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return fmt.Errorf("vsock option cid: %q: give a number from 3", value)
			}
			out.CID = cid
			if cid == 0 {
				return fmt.Errorf("vsock option cid: 0 is nobody's address: give a number from 3")
			}
		case i == 0 && word != "" && key != "cid":
			out.Path = word
		case i == 0:
			return fmt.Errorf("vsock %q: give the path of a socket, or vhost", s)
		default:
			return fmt.Errorf("vsock option %q: give cid=N or vhost", word)
		}
	}
	*v = out
	return nil
}
