package vm

import (
	"net/netip"
	"strings"
	"testing"
)

func TestConsoleOnTheCommandLine(t *testing.T) {
	for _, tt := range []struct {
		config Config
		want   string // begins with
	}{
		{Config{}, "console=ttyS0,115200n8r panic=-1"},
		{Config{Terminal: TerminalSerial}, "console=ttyS0,115200n8r panic=-1"},
		{Config{Terminal: TerminalAuto}, "earlycon=uart8250,io,0x3f8,115200n8 console=hvc0 panic=-1"},
		{Config{Terminal: TerminalVirtio}, "earlycon=uart8250,io,0x3f8,115200n8 console=hvc0 panic=-1"},
		{Config{Terminal: TerminalAuto, Kernel: "vmlinuz"}, "console=ttyS0,115200n8r panic=-1"},
		{Config{Terminal: TerminalVirtio, Kernel: "vmlinuz"}, "console=ttyS0,115200n8r console=hvc0 panic=-1"},
		{Config{Terminal: TerminalAuto, Append: "ro console=ttyS0"}, "console=ttyS0,115200n8r panic=-1"},
	} {
		if got := commandLine(&tt.config); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%+v: %q", tt.config, got)
		}
	}
	shares := Config{Agent: true, Shares: []Share{{Tag: "a"}, {Tag: "b", ReadOnly: true}}}
	if got := commandLine(&shares); !strings.Contains(got, " gureum.share=a,b:ro") {
		t.Error(got)
	}
	if err := Terminal("vga").check(); err == nil {
		t.Error("a console that does not exist is taken")
	}
}

func TestNetworksCmdline(t *testing.T) {
	c := Config{Name: "a", Agent: true, NICs: []NIC{
		{User: true, MAC: [6]byte{2, 0, 0, 0, 0, 1}},
		{Tap: "t0"},
		{Tap: "t1", MAC: [6]byte{2, 0, 0, 0, 0, 0xab}, Guest: Address{IP: netip.MustParsePrefix("10.88.0.2/24"), Search: "default.internal"}},
	}}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	const want = " gureum.net=02:00:00:00:00:01,10.0.2.15/24,gw=10.0.2.2,dns=10.0.2.3;02:00:00:00:00:ab,10.88.0.2/24,search=default.internal"
	if got := commandLine(&c); !strings.Contains(got, want) {
		t.Errorf("%s", got)
	}
	c.Agent = false
	if got := commandLine(&c); strings.Contains(got, "gureum.net") {
		t.Errorf("another guest's command line: %s", got)
	}
	c.NICs[2].Guest.Search = "x gureum.exec=reboot"
	if c.Validate() == nil {
		t.Error("a search domain can hold a word of the command line")
	}
}
