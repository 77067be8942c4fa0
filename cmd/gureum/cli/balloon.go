package cli

import "github.com/spf13/pflag"

// addBalloonFlags adds the flags of the memory balloon.
func (o *runOptions) addBalloonFlags(f *pflag.FlagSet) {
	f.Var((*sizeValue)(&o.config.Balloon.Size), "balloon", "how much memory to take back from the guest once it runs")
	f.BoolVar(&o.config.Balloon.Off, "no-balloon", false, "give the guest no balloon: its free memory then stays with it")
}
