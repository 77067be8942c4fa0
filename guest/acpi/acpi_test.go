package acpi

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/gureum/gureum/guest/acpi/aml"
)

// machine is the layout of the real machine.
func machine(cpus int) Config {
	return Config{
		Base: 0xE_0000, Limit: 0x10_0000,
		CPUs:      cpus,
		LocalAPIC: 0xFEE0_0000, IOAPIC: 0xFEC0_0000,
		ResetPort: 0x602, ResetValue: 1,
		SleepControl: 0x600, SleepStatus: 0x601,
		GED:      GED{Port: 0x604, GSI: 9},
		Serial:   []Serial{{Port: 0x3F8, GSI: 4}, {Port: 0x2F8, GSI: 3}},
		RTC:      RTC{Port: 0x70, GSI: 8, Century: 0x32},
		Keyboard: Keyboard{Data: 0x60, Command: 0x64, GSI: 1},
		PVPanic:  0x505,
	}
}

// extended is a machine with what later devices add.
func extended() Config {
	c := machine(300)
	c.GED.Events = []Event{{Bit: 4, Actions: []aml.Term{
		aml.Notify(aml.Path(`\_SB.PCI0`), aml.Integer(0)),
	}}}
	for i := range 3 {
		c.Devices = append(c.Devices, VirtioMMIO(i, 0xD000_0000+0x1000*uint32(i), 0x1000, 16+uint32(i)))
	}
	c.Devices = append(c.Devices, pciHost())
	c.Tables = append(c.Tables, MCFG(0xE000_0000, 0, 0, 255))
	return c
}

// withPCI is a machine whose devices are on PCI.
func withPCI() Config {
	c := machine(2)
	c.Devices = append(c.Devices, PCIHost(0, 0xC000_0000, 0xCFFF_FFFF))
	c.Tables = append(c.Tables, MCFG(0xE000_0000, 0, 0, 0))
	return c
}

// pciHost is the bridge of a PCI Express segment, with all that its issue needs
// from the encoder.
func pciHost() aml.Term {
	zero := aml.Integer(0)
	return aml.Device("PCI0",
		aml.Name("_HID", aml.EISAID("PNP0A08")),
		aml.Name("_CID", aml.EISAID("PNP0A03")),
		aml.Name("_SEG", zero),
		aml.Name("_BBN", zero),
		aml.Name("_UID", zero),
		aml.Name("_CRS", aml.ResourceTemplate(
			aml.BusNumbers(0, 255),
			aml.IO(0xCF8, 8),
			aml.IOWindow(0x1000, 0xFFFF),
			aml.MemoryWindow32(0xC000_0000, 0xCFFF_FFFF),
			aml.MemoryWindow64(0x40_0000_0000, 0x7F_FFFF_FFFF),
		)),
		aml.Name("_PRT", aml.Package(
			aml.Package(aml.Integer(0x1FFFF), zero, zero, aml.Integer(16)),
			aml.Package(aml.Integer(0x2FFFF), aml.Integer(3), zero, aml.Integer(17)),
		)),
		aml.Method("_OSC", 4, aml.Serialized,
			aml.CreateDWordField(aml.Arg(3), zero, "CDW1"),
			aml.If(aml.LEqual(aml.Arg(0), aml.UUID("33DB4D5B-1FF7-401C-9657-7441C03DD766")),
				aml.CreateDWordField(aml.Arg(3), aml.Integer(8), "CDW3"),
				aml.And(aml.Path("CDW3"), aml.Integer(0x1F), aml.Path("CDW3")),
			),
			aml.Else(aml.Or(aml.Path("CDW1"), aml.Integer(4), aml.Path("CDW1"))),
			aml.Return(aml.Arg(3)),
		),
	)
}

func build(t testing.TB, c Config) *Tables {
	t.Helper()
	tables, err := Build(c)
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

func table(t testing.TB, ts *Tables, signature string) []byte {
	t.Helper()
	for _, p := range ts.Placed {
		if p.Signature == signature {
			return p.Data
		}
	}
	t.Fatalf("no table %s", signature)
	return nil
}

// at reads guest memory as the tables fill it.
func at(t testing.TB, ts *Tables, gpa uint64) []byte {
	t.Helper()
	if gpa < ts.RSDP || gpa >= ts.RSDP+uint64(len(ts.Image)) {
		t.Fatalf("address %#x outside of the image at %#x with %d bytes", gpa, ts.RSDP, len(ts.Image))
	}
	return ts.Image[gpa-ts.RSDP:]
}

func sum(b []byte) (s byte) {
	for _, v := range b {
		s += v
	}
	return s
}

// TestWalk finds every table as an operating system does, from the RSDP on.
func TestWalk(t *testing.T) {
	ts := build(t, extended())
	rsdp := at(t, ts, ts.RSDP)[:36]
	if string(rsdp[:8]) != "RSD PTR " || rsdp[15] != 2 || sum(rsdp[:20]) != 0 || sum(rsdp) != 0 {
		t.Fatalf("bad RSDP % x", rsdp)
	}
	if ts.RSDP%16 != 0 {
		t.Errorf("RSDP at %#x", ts.RSDP)
	}
	header := func(gpa uint64) []byte {
		b := at(t, ts, gpa)
		b = b[:binary.LittleEndian.Uint32(b[4:])]
		if s := sum(b); s != 0 {
			t.Errorf("table %q: sum %#x", b[:4], s)
		}
		return b
	}
	xsdt := header(binary.LittleEndian.Uint64(rsdp[24:]))
	if string(xsdt[:4]) != "XSDT" {
		t.Fatalf("XSDT is %q", xsdt[:4])
	}
	found := map[string][]byte{}
	for b := xsdt[36:]; len(b) > 0; b = b[8:] {
		tab := header(binary.LittleEndian.Uint64(b))
		found[string(tab[:4])] = tab
	}
	for _, want := range []string{"FACP", "APIC", "MCFG"} {
		if found[want] == nil {
			t.Errorf("XSDT lists no %s", want)
		}
	}
	fadt := found["FACP"]
	dsdt := header(binary.LittleEndian.Uint64(fadt[140:]))
	if string(dsdt[:4]) != "DSDT" || dsdt[8] != 2 {
		t.Errorf("DSDT is %q revision %d", dsdt[:4], dsdt[8])
	}
	if d32 := binary.LittleEndian.Uint32(fadt[40:]); uint64(d32) != binary.LittleEndian.Uint64(fadt[140:]) {
		t.Errorf("DSDT %#x and X_DSDT differ", d32)
	}
}

func TestFADT(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		offset int
		want   []byte
	}{
		{"length, revision", nil, 4, []byte{0x14, 1, 0, 0, 6}},
		{"boot flags: legacy, 8042, no VGA", nil, 109, []byte{7, 0}},
		{"no CMOS, no 8042", func(c *Config) { c.RTC.Port, c.Keyboard.Data = 0, 0 }, 109, []byte{0x25, 0}},
		{"nothing legacy", func(c *Config) { c.Serial, c.Keyboard.Data = nil, 0 }, 109, []byte{4, 0}},
		{"century", nil, 108, []byte{0x32}},
		{"flags: hardware-reduced, reset, buttons, WBINVD", nil, 112, []byte{0x31, 0x04, 0x10, 0}},
		{"no reset register", func(c *Config) { c.ResetPort = 0 }, 112, []byte{0x31, 0, 0x10, 0}},
		{"reset register", nil, 116, []byte{1, 8, 0, 1, 2, 6, 0, 0, 0, 0, 0, 0, 1}},
		{"sleep control", nil, 244, []byte{1, 8, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0}},
		{"sleep status", nil, 256, []byte{1, 8, 0, 1, 1, 6, 0, 0, 0, 0, 0, 0}},
		{"no SCI, PM or GPE blocks", nil, 46, make([]byte, 62)},
		{"no FACS", nil, 132, make([]byte, 8)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := machine(1)
			if tt.change != nil {
				tt.change(&c)
			}
			got := table(t, build(t, c), "FACP")[tt.offset:][:len(tt.want)]
			if string(got) != string(tt.want) {
				t.Errorf("offset %d: % x, want % x", tt.offset, got, tt.want)
			}
		})
	}
}

// TestMADT reads the CPUs back.
func TestMADT(t *testing.T) {
	for _, cpus := range []int{1, 2, 254, 255, 256, 1024, 4096} {
		b := table(t, build(t, machine(cpus)), "APIC")
		if flags := binary.LittleEndian.Uint32(b[40:]); flags != 0 {
			t.Errorf("flags %#x", flags)
		}
		var ids []uint32
		kinds := map[byte]int{}
		for b = b[44:]; len(b) > 0; b = b[b[1]:] {
			kinds[b[0]]++
			switch b[0] {
			case 0:
				if b[2] != b[3] || b[4] != 1 {
					t.Errorf("local APIC % x", b[:8])
				}
				ids = append(ids, uint32(b[3]))
			case 9:
				ids = append(ids, binary.LittleEndian.Uint32(b[4:]))
			}
		}
		if len(ids) != cpus || kinds[1] != 1 || kinds[4] != 1 {
			t.Errorf("%d CPUs: %d ids, entries %v", cpus, len(ids), kinds)
		}
		for i, id := range ids {
			if id != uint32(i) {
				t.Fatalf("CPU %d has id %d", i, id)
			}
		}
		if want := max(0, cpus-255); kinds[9] != want {
			t.Errorf("%d CPUs: %d x2APIC entries, want %d", cpus, kinds[9], want)
		}
		if (kinds[9] > 0) != (kinds[10] == 1) {
			t.Errorf("%d CPUs: entries %v", cpus, kinds)
		}
	}
}

func TestBuildErrors(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		want   error
	}{
		{"no CPU", func(c *Config) { c.CPUs = 0 }, ErrConfig},
		{"negative CPUs", func(c *Config) { c.CPUs = -1 }, ErrConfig},
		{"far too many CPUs", func(c *Config) { c.CPUs = 1 << 40 }, ErrTooBig},
		{"too many CPUs", func(c *Config) { c.CPUs = 9000 }, ErrTooBig},
		{"no room", func(c *Config) { c.Limit = c.Base + 64 }, ErrTooBig},
		{"no base", func(c *Config) { c.Base = 0 }, ErrConfig},
		{"odd base", func(c *Config) { c.Base += 8 }, ErrConfig},
		{"limit below base", func(c *Config) { c.Limit = 16 }, ErrConfig},
		{"id twice", func(c *Config) { c.APICIDs = []uint32{1, 1} }, ErrConfig},
		{"id missing", func(c *Config) { c.APICIDs = []uint32{1} }, ErrConfig},
		{"event bit", func(c *Config) { c.GED.PowerButton = 32 }, ErrConfig},
		{"event twice", func(c *Config) { c.GED.Events = []Event{{Bit: 0}} }, ErrConfig},
		{"five serial ports", func(c *Config) { c.Serial = make([]Serial, 5) }, ErrConfig},
		{"ISA interrupt", func(c *Config) { c.Serial[0].GSI = 20 }, aml.ErrInvalid},
		{"device name", func(c *Config) { c.Devices = []aml.Term{aml.Device("gpu")} }, aml.ErrInvalid},
		{"device number", func(c *Config) { c.Devices = []aml.Term{VirtioMMIO(4096, 0, 0, 0)} }, aml.ErrInvalid},
		{"signature", func(c *Config) { c.Tables = []Table{{Signature: "LONGER"}} }, ErrConfig},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := machine(2)
			tt.change(&c)
			if _, err := Build(c); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

type recorder struct {
	gpa uint64
	n   int
	err error
}

func (r *recorder) WriteAt(p []byte, gpa uint64) error {
	r.gpa, r.n = gpa, len(p)
	return r.err
}

func TestWrite(t *testing.T) {
	ts := build(t, machine(1))
	var m recorder
	if err := ts.Write(&m); err != nil || m.gpa != 0xE_0000 || m.n != len(ts.Image) {
		t.Errorf("wrote %d bytes at %#x: %v", m.n, m.gpa, err)
	}
	m.err = errors.New("no memory")
	if err := ts.Write(&m); !errors.Is(err, m.err) {
		t.Errorf("error %v", err)
	}
}

// TestSize keeps the AML small: the guest interprets all of it while it boots.
func TestSize(t *testing.T) {
	ts := build(t, machine(1))
	const limit = 420
	if n := len(table(t, ts, "DSDT")); n > limit {
		t.Errorf("the DSDT has %d bytes, more than %d", n, limit)
	}
}
