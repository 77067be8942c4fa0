package debian

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gureum/gureum/guest/image/ext4"
)

func TestSources(t *testing.T) {
	for name, test := range map[string]struct{ file, mirror, security string }{
		"one line":  {"deb http://mirror.example/debian/ bookworm main\ndeb [signed-by=/k] https://s.example/debian-security bookworm-security main\n", "http://mirror.example/debian", "https://s.example/debian-security"},
		"deb822":    {"Types: deb\n# http://old.example/debian\nURIs: http://m.example/debian\nSuites: bookworm\n", "http://m.example/debian", ""},
		"others":    {"deb https://packages.example/apt stable main\n# deb http://no.example/debian x main\n", "", ""},
		"not a URL": {"deb cdrom:[Debian]/debian bookworm main\n", "", ""},
	} {
		var h hostAPT
		h.readSources(test.file)
		if h.mirror != test.mirror || h.security != test.security {
			t.Errorf("%s: %+v", name, h)
		}
	}
}

func TestConfig(t *testing.T) {
	var h hostAPT
	h.readConfig([]byte("Acquire::http::Proxy http://proxy:3128/\nAcquire::https::CAInfo /etc/ca.pem\nAPT::Update::Pre-Invoke:: rm -rf /\n" +
		"Acquire::http::User-Agent x\nAcquire::http::Proxy-Auto-Detect \nDPkg::Post-Invoke:: touch /x\n"))
	if want := []string{`Acquire::http::Proxy "http://proxy:3128/"`, `Acquire::https::CAInfo "/etc/ca.pem"`}; !slices.Equal(h.options, want) {
		t.Errorf("%q", h.options)
	}
}

func TestArguments(t *testing.T) {
	c := Config{Packages: []string{"nginx"}}
	args, err := c.arguments("bookworm", hostAPT{mirror: "http://m/debian", security: "http://s/debian-security"})
	if err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(args, " "); !strings.Contains(all, ",nginx ") || !strings.Contains(all, "http://m/debian bookworm main") {
		t.Error(all)
	}
	for _, test := range []struct {
		host hostAPT
		want string
	}{
		{hostAPT{}, "bookworm -"},
		{hostAPT{security: "http://s/debian-security"}, "bookworm -"},
		{hostAPT{mirror: "http://m/debian"}, "http://m/debian bookworm-updates main"},
	} {
		args, err := c.arguments("bookworm", test.host)
		if all := strings.Join(args, " "); err != nil || !strings.HasSuffix(all, test.want) {
			t.Errorf("%+v: %s, %v", test.host, all, err)
		}
	}
	for _, name := range []string{"", "a", "--hook=x", "a,b", "a b", "A", "x/y", "a;b", "a=1"} {
		c.Packages = []string{name}
		if _, err := c.arguments("bookworm", hostAPT{}); err == nil {
			t.Errorf("package %q is taken", name)
		}
	}
}

func TestMissingTool(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := Root(t.Context(), Config{Release: "12"}, nil)
	if !errors.Is(err, ErrTool) || !strings.Contains(err.Error(), "apt-get install mmdebstrap") {
		t.Error(err)
	}
}

func TestRelay(t *testing.T) {
	var steps []string
	last := relay(strings.NewReader("I: one\rI: two\nW: careful\n\n"+strings.Repeat("x\n", 50)+strings.Repeat("y", 100<<10)), func(s string) { steps = append(steps, s) })
	if !slices.Equal(steps, []string{"one", "two"}) || len(last) != keptLines {
		t.Errorf("%q, %d", steps, len(last))
	}
}

func TestAgentUnit(t *testing.T) {
	want, err := os.ReadFile("../../agent/gureum-agent.service")
	if err != nil || agentUnit != string(want) {
		t.Errorf("the unit is not that of guest/agent: %v", err)
	}
}

// image is one in memory.
type image []byte

func (m image) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }

func TestFit(t *testing.T) {
	m := make(image, 16<<20)
	w, err := ext4.New(m, ext4.Config{Size: int64(len(m))})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etc/ssh/ssh_host_rsa_key", "etc/machine-id", "etc/resolv.conf"} {
		if err := w.Put(name, ext4.Attr{Type: ext4.TypeRegular}, 7, strings.NewReader("of host")); err != nil {
			t.Fatal(err)
		}
	}
	c := Config{}
	if err := Fit(w, []byte("\x7fELF"), c.Time); err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	r, err := ext4.OpenReader(bytes.NewReader(m))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Lookup("etc/ssh/ssh_host_rsa_key"); err == nil {
		t.Error("every machine has the same ssh host key")
	}
	if i, err := r.Lookup("etc/machine-id"); err != nil || i.Size != 0 {
		t.Error("every machine has the same machine-id")
	}
	if i, err := r.Lookup("usr/local/sbin/gureum-agent"); err != nil || i.Perm != 0o755 {
		t.Error("no agent", err)
	}
}
