package vm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		c    Config
		want string // in the error; "" for none
	}{
		{"defaults", Config{}, ""},
		{"files", Config{Kernel: file, Initrd: file}, ""},
		{"name", Config{Name: "web-1"}, ""},
		{"long name", Config{Name: strings.Repeat("a", 64)}, "at most 63"},
		{"name with a dot", Config{Name: "a.b"}, "letters, digits and inner hyphens"},
		{"name with a hyphen in front", Config{Name: "-a"}, "inner hyphens"},
		{"negative CPUs", Config{CPUs: -1}, "from 1 to 1024"},
		{"many CPUs", Config{CPUs: 1025}, "from 1 to 1024"},
		{"little memory", Config{Memory: 1 << 20}, "32 MiB"},
		{"odd memory", Config{Memory: MinMemory + 1}, "page size"},
		{"much memory", Config{Memory: 100 << 40}, "16 TiB"},
		{"line break", Config{Append: "a\nb"}, "line break"},
		{"no kernel", Config{Kernel: filepath.Join(dir, "none")}, "no such file"},
		{"directory", Config{Kernel: dir}, "is a directory"},
		{"device", Config{Initrd: "/dev/null"}, "is a device"},
	} {
		err := c.c.Validate()
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		var input *InputError
		if !errors.As(err, &input) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an InputError with %q", c.name, err, c.want)
		}
	}
}

func TestValidateFillsInDefaults(t *testing.T) {
	var c Config
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.CPUs != 1 || c.Memory != DefaultMemory {
		t.Errorf("%d CPUs, %d bytes", c.CPUs, c.Memory)
	}
}

func TestFormatSize(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 bytes", 1023: "1023 bytes", 1 << 20: "1 MiB", 3 << 29: "1536 MiB", 1 << 60: "1048576 TiB"} {
		if got := FormatSize(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestRing(t *testing.T) {
	r := newRing(4)
	for _, c := range []struct{ write, want string }{
		{"", ""}, {"ab", "ab"}, {"cd", "abcd"}, {"e", "bcde"}, {"fghij", "ghij"}, {"klmnopq", "nopq"}, {"r", "opqr"},
	} {
		if n, err := r.Write([]byte(c.write)); n != len(c.write) || err != nil {
			t.Fatal(n, err)
		}
		if got := string(r.bytes()); got != c.want {
			t.Errorf("after %q the ring holds %q, want %q", c.write, got, c.want)
		}
	}
}

func TestHasVirtualization(t *testing.T) {
	for name, c := range map[string]struct {
		cpuinfo string
		want    bool
	}{
		"Intel":    {"processor\t: 0\nflags\t\t: fpu vmx sse\nbugs\t:\n", true},
		"AMD":      {"processor\t: 0\nflags\t\t: fpu svm\nbugs\t:\n", true},
		"software": {"processor\t: 0\nflags\t\t: fpu svm_lock hypervisor\n", false},
		"no flags": {"processor\t: 0\n", false},
	} {
		path := filepath.Join(t.TempDir(), "cpuinfo")
		if err := os.WriteFile(path, []byte(c.cpuinfo), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := hasVirtualization(path); err != nil || got != c.want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// TestInputIsCheckedBeforeTheHost gives a KVM device that does not exist: what is
// wrong with the input must be said all the same.
func TestInputIsCheckedBeforeTheHost(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big")
	f, err := os.Create(big)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(MinMemory), f.Close()); err != nil {
		t.Fatal(err)
	}
	config := tinyConfig(t, halt)
	config.KVM = filepath.Join(dir, "none")
	config.Initrd = big
	var input *InputError
	if _, err := New(config); !errors.As(err, &input) || !strings.Contains(err.Error(), "initrd") {
		t.Errorf("an initrd as large as memory gave %v", err)
	}
	config.Initrd = ""
	config.Append = strings.Repeat("a", 4096)
	if _, err := New(config); !errors.As(err, &input) || !strings.Contains(err.Error(), "command line") {
		t.Errorf("a long command line gave %v", err)
	}
	config.Append = ""
	var host *HostError
	if _, err := New(config); !errors.As(err, &host) {
		t.Errorf("a missing device gave %v", err)
	}
}

// TestOwnAgentNeedsItsWay refuses a machine that its guest's agent could not reach.
func TestOwnAgentNeedsItsWay(t *testing.T) {
	for _, c := range []Config{
		{OwnAgent: true, Agent: true},
		{OwnAgent: true, Vsock: Vsock{Vhost: true, CID: 3}},
	} {
		var input *InputError
		if err := c.Validate(); !errors.As(err, &input) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := (&Config{OwnAgent: true}).Validate(); err != nil {
		t.Error(err)
	}
}
