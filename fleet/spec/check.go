package spec

import (
	"errors"
	"slices"

	"github.com/gureum/gureum/vm"
)

// Check finds what is wrong with the Plan of a machine in the background before anything
// is made: all that vm.Config's Validate finds, but for what Prepare and the fleet's
// networks have yet to fill in.
// Its errors are *vm.InputError.
func (p *Plan) Check() error {
	c := p.Config
	if c.Vsock.Path != "" {
		return &vm.InputError{Err: errors.New("vsock: a machine in the background has its socket in its own folder: leave out the path")}
	}
	c.Disks = slices.DeleteFunc(slices.Clone(c.Disks), func(d vm.Disk) bool { return isImageName("", d.Path) })
	c.NICs = slices.Clone(c.NICs)
	for _, port := range p.Ports {
		c.NICs[port.NIC].Tap = "gur-port" // any that is a name
	}
	return c.Validate()
}
