package cli

import (
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/gureum/gureum/fleet/spec"
)

// A file says the same words as the command line.
func TestFlagsAreTheWordsOfASpec(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	addMachineFlags(flags, &spec.Spec{})
	fields := map[string]bool{"command": true} // behind --
	for field := range reflect.TypeFor[spec.Spec]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		fields[name] = true
		if name != "command" && flags.Lookup(name) == nil {
			t.Errorf("field %s has no flag --%s", field.Name, name)
		}
	}
	flags.VisitAll(func(f *pflag.Flag) {
		if !fields[f.Name] {
			t.Errorf("flag --%s has no field", f.Name)
		}
	})
}
