package spec

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/gureum/gureum/vm"
)

// parseVsock reads PATH[,cid=N] or vhost[,cid=N].
func parseVsock(s string) (vm.Vsock, error) {
	out := vm.Vsock{On: true}
	for i, word := range strings.Split(s, ",") {
		key, value, assigned := strings.Cut(word, "=")
		switch {
		case word == "vhost":
			out.Vhost = true
		case i > 0 && assigned && key == "cid":
			cid, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return vm.Vsock{}, fmt.Errorf("vsock option cid: %q: give a number from 3", value)
			}
			out.CID = cid
			if cid == 0 {
				return vm.Vsock{}, fmt.Errorf("vsock option cid: 0 is nobody's address: give a number from 3")
			}
		case i == 0 && word != "" && key != "cid":
			out.Path = word
		case i == 0:
			return vm.Vsock{}, fmt.Errorf("vsock %q: give the path of a socket, or vhost", s)
		default:
			return vm.Vsock{}, fmt.Errorf("vsock option %q: give cid=N or vhost", word)
		}
	}
	return out, nil
}
