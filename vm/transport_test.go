package vm

import (
	"errors"
	"strings"
	"testing"

	"github.com/gureum/gureum/guest/acpi"
	"github.com/gureum/gureum/guest/acpi/aml"
)

func TestTransportNames(t *testing.T) {
	for _, name := range []string{"", "auto", "pci", "mmio"} {
		if err := Transport(name).check(); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	var input *InputError
	if err := Transport("isa").check(); !errors.As(err, &input) || !strings.Contains(err.Error(), "give auto, pci or mmio") {
		t.Errorf("isa: %v", err)
	}
}

// TestLayouts holds how many devices each transport has room for, and what auto
// chooses.
func TestLayouts(t *testing.T) {
	for _, c := range []struct {
		transport Transport
		devices   int
		pci       bool
		fault     string
	}{
		{TransportAuto, 0, false, ""},
		{"", 15, false, ""},
		{TransportAuto, 16, true, ""},
		{TransportAuto, 31, true, ""},
		{TransportAuto, 32, true, "has room for 31"},
		{TransportMMIO, 15, false, ""},
		{TransportMMIO, 16, false, "use --transport pci"},
		{TransportPCI, 1, true, ""},
	} {
		l, err := newLayout(&Config{Transport: c.transport}, c.devices)
		if c.fault != "" {
			var input *InputError
			if !errors.As(err, &input) || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%d devices on %q: %v", c.devices, c.transport, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, pci := l.(*pciLayout); pci != c.pci {
			t.Errorf("%d devices on %q: a %T", c.devices, c.transport, l)
		}
	}
}

// TestMMIODevicesAreToldOnce holds that a guest hears of its devices by ACPI, or on
// its command line if it ignores ACPI, and that places and interrupts differ.
func TestMMIODevicesAreToldOnce(t *testing.T) {
	for _, appended := range []string{"", "quiet acpi=off", "acpi=office"} {
		off := appended == "quiet acpi=off"
		l, err := newMMIOLayout(len(mmioGSIs), &Config{Append: appended})
		if err != nil {
			t.Fatal(err)
		}
		var tables acpi.Config
		l.describe(&tables)
		if words := l.cmdline(); (len(words) == 0) == off || off && words[0] != "virtio_mmio.device=4352@0xd0000f00:16:0" {
			t.Errorf("%q: command line %v", appended, words)
		}
		if _, err := aml.Encode(tables.Devices...); err != nil {
			t.Error(err)
		}
		if (len(tables.Devices) == 0) != off {
			t.Errorf("%q: %d devices in ACPI", appended, len(tables.Devices))
		}
		places, lines := map[uint64]bool{}, map[uint32]bool{}
		for _, s := range l.slots {
			places[s.pages], lines[s.gsi] = true, true
		}
		if len(places) != len(mmioGSIs) || len(lines) != len(mmioGSIs) {
			t.Errorf("%d places, %d interrupts", len(places), len(lines))
		}
		for _, gsi := range []uint32{0, gsiKeyboard, 2, gsiCOM1, gsiCOM2, gsiRTC, gsiACPI} {
			if lines[gsi] {
				t.Errorf("GSI %d is given twice", gsi)
			}
		}
	}
}
