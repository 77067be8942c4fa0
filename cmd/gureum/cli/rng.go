package cli

import "github.com/spf13/pflag"

// addRNGFlags adds the flags of the entropy device.
func (o *runOptions) addRNGFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.config.RNG.Off, "no-rng", false, "give the guest no entropy device")
}
