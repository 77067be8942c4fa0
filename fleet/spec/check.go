package spec

import (
	"errors"
	"fmt"
	"slices"

	"github.com/gureum/gureum/virtio/blk"
	"github.com/gureum/gureum/vm"
)

// Check finds what is wrong with the Plan of a machine in the background before anything
// is made: all that vm.Config's Validate finds, but for what Prepare and the fleet's
// networks have yet to fill in.
// Its errors are *vm.InputError.
func (p *Plan) Check() error {
	if len(p.Publish) > 0 && len(p.Ports) == 0 {
		return &vm.InputError{Err: errors.New("publish: the machine is on no network: give --net NETWORK")}
	}
	c := p.Config
	if c.Vsock.On {
		return &vm.InputError{Err: errors.New("vsock: a machine in the background has its socket in its own folder: leave it out")}
	}
	for _, d := range c.Disks {
		if d.Engine == blk.EngineIOURing {
			return &vm.InputError{Err: fmt.Errorf("disk %s: engine=io_uring: a machine in the background is jailed, and no filter sees what a ring asks for: leave it out, or give engine=workers", d.Path)}
		}
	}
	c.Disks = slices.DeleteFunc(slices.Clone(c.Disks), func(d vm.Disk) bool { return isImageName("", d.Path) })
	c.NICs = slices.Clone(c.NICs)
	for _, port := range p.Ports {
		c.NICs[port.NIC].Tap = "gur-port" // any that is a name
	}
	return c.Validate()
}
