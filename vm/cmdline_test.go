package vm

import (
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
