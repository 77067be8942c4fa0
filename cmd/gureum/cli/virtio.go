package cli

import (
	"github.com/spf13/pflag"

	"github.com/gureum/gureum/vm"
)

// addTransportFlags adds the flags that concern all virtio devices.
func (o *runOptions) addTransportFlags(f *pflag.FlagSet) {
	f.StringVar((*string)(&o.config.Transport), "transport", string(vm.TransportAuto), "how virtio devices reach the guest: auto, pci or mmio")
}
