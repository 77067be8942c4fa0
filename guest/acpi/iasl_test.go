package acpi

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// iasl runs the ACPICA compiler of Debian's acpica-tools.
func iasl(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("iasl", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("iasl %s: %v (install acpica-tools with 'make setup')\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

var (
	// summary is iasl's last line: everything in it has to be zero.
	summary = regexp.MustCompile(`(\d+) Errors?, (\d+) Warnings?, (\d+) Remarks?`)
	trouble = regexp.MustCompile(`(?i)error|warning|invalid|unknown|unresolved|mismatch`)
)

// withoutCompiler blanks what iasl writes in its own way: checksum and compiler.
func withoutCompiler(b []byte) []byte {
	b = bytes.Clone(b)
	b[headerChecksum] = 0
	clear(b[headerCreator:headerSize])
	return b
}

// TestIASL disassembles every table, compiles the result, and compares: no
// error, no warning, no remark, and the same bytes. iasl is told not to
// optimize names, or it would shorten ours.
func TestIASL(t *testing.T) {
	configs := map[string]Config{
		"machine":  machine(4),
		"small":    {Base: 0xE_0000, Limit: 0x10_0000, CPUs: 1, LocalAPIC: 0xFEE0_0000, IOAPIC: 0xFEC0_0000, SleepControl: 0x600},
		"extended": extended(),
		"pci":      withPCI(),
	}
	for name, c := range configs {
		// iasl takes no RSDP, the first; TestWalk checks it.
		for _, p := range build(t, c).Placed[1:] {
			t.Run(name+"/"+p.Signature, func(t *testing.T) {
				t.Parallel()
				roundTrip(t, p)
			})
		}
	}
}

func roundTrip(t *testing.T, p Placed) {
	dir := t.TempDir()
	name := p.Signature
	if err := os.WriteFile(filepath.Join(dir, name+".dat"), p.Data, 0o600); err != nil {
		t.Fatal(err)
	}
	out := iasl(t, dir, "-d", name+".dat")
	source, err := os.ReadFile(filepath.Join(dir, name+".dsl"))
	if err != nil {
		t.Fatalf("no disassembly: %v\n%s", err, out)
	}
	for _, text := range []string{out, string(source)} {
		if hit := trouble.FindString(text); hit != "" {
			t.Errorf("%q in the disassembly:\n%s", hit, text)
		}
	}
	out = iasl(t, dir, "-oa", "-p", "out", name+".dsl")
	m := summary.FindStringSubmatch(out)
	if m == nil || m[1] != "0" || m[2] != "0" || m[3] != "0" {
		t.Errorf("iasl:\n%s\n%s", out, source)
	}
	again, err := os.ReadFile(filepath.Join(dir, "out.aml"))
	if err != nil {
		t.Fatalf("no compiled table: %v\n%s", err, out)
	}
	want := withoutCompiler(p.Data)
	again = withoutCompiler(again)
	if !bytes.Equal(again, want) {
		t.Errorf("compiled again, the table differs:\nours % x\niasl % x\n%s", want, again, source)
	}
}
