package main

import (
	"io"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/agent"
)

func TestParseConfig(t *testing.T) {
	normal := config{agent: "/dev/ttyS1", hostname: "gureum", end: agent.PowerOff}
	with := func(change func(*config)) config {
		c := normal
		change(&c)
		return c
	}
	tests := []struct {
		cmdline string
		want    config
	}{
		{"", normal},
		{"console=ttyS0 quiet gureum.agent= gureum.hostname\n", normal},
		{"gureum.share=a,b:ro", with(func(c *config) { c.shares = "a,b:ro" })},
		{"gureum.net=a;b", with(func(c *config) { c.networks = "a;b" })},
		{"gureum.agent=none", with(func(c *config) { c.agent, c.asked = "none", true })},
		{"\tgureum.agent=/dev/vport0p1  gureum.hostname=a", with(func(c *config) { c.agent, c.asked, c.hostname = "/dev/vport0p1", true, "a" })},
		{`gureum.exec="uname -a; date" gureum.end=reboot`, with(func(c *config) { c.exec, c.end = "uname -a; date", agent.Reboot })},
		{`"gureum.exec=two words"`, with(func(c *config) { c.exec = "two words" })},
		{`gureum.end=halt gureum.exec="no end`, with(func(c *config) { c.exec, c.end = "no end", agent.Halt })},
		{"gureum.end=sideways xgureum.hostname=b", normal},
	}
	for _, tt := range tests {
		if got := parseConfig(tt.cmdline); got != tt.want {
			t.Errorf("%q: %+v", tt.cmdline, got)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add(`a="b c" gureum.exec=x`)
	f.Fuzz(func(t *testing.T, cmdline string) {
		rest, words := cmdline, 0
		for rest != "" {
			before := len(rest)
			if _, rest = nextWord(rest); len(rest) >= before {
				t.Fatalf("%q does not get shorter", rest)
			}
			words++
		}
		parseConfig(cmdline)
	})
}

func TestDataMounts(t *testing.T) {
	const mounts = `rootfs / rootfs rw 0 0
proc /proc proc rw 0 0
/dev/vda / ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
share /mnt/my\040share virtiofs rw 0 0
/dev/vdb /mnt/a\134b xfs rw 0 0
broken
overlay /merged overlay rw 0 0
`
	want := []string{"/merged", `/mnt/a\b`, "/mnt/my share", "/"}
	if got := dataMounts(mounts); !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
}

// TestOpenPort wants a line that changes no byte either way.
func TestOpenPort(t *testing.T) {
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer slave.Close()
	port, err := agent.OpenLine(slave.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, way := range [][2]*os.File{{master, port}, {port, master}} {
		got := make([]byte, len(all))
		if _, err := way[0].Write(all); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(way[1], got); err != nil || !reflect.DeepEqual(got, all) {
			t.Errorf("%s to %s: % x, %v", way[0].Name(), way[1].Name(), got, err)
		}
	}
	if _, err := agent.OpenLine("/no/such"); !missing(err) {
		t.Error(err)
	}
}

func TestPortThatIsNoTerminal(t *testing.T) {
	path := t.TempDir() + "/fifo"
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	port, err := agent.OpenLine(path)
	if err != nil {
		t.Fatal(err)
	}
	port.Close()
}

// TestPowerButton has the events of a press, as a kernel writes them.
func TestPowerButton(t *testing.T) {
	event := func(kind, code uint16, value uint32) []byte {
		b := make([]byte, inputEventSize)
		b[16], b[18], b[20] = byte(kind), byte(code), byte(value)
		return b
	}
	if powerPressed(event(evKey, keyPower, 0)) || powerPressed(event(evKey, 30, 1)) || powerPressed(event(0, keyPower, 1)) {
		t.Error("something else is taken for the power button")
	}
	if !powerPressed(event(evKey, keyPower, keyDown)) {
		t.Error("the power button is not seen")
	}
}

// TestOnlyFirstProcess keeps a curious user's system whole.
func TestOnlyFirstProcess(t *testing.T) {
	bin := t.TempDir() + "/init"
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(bin).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "first process") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestSmall holds what start-up time and archive size rest on.
func TestSmall(t *testing.T) {
	bin := t.TempDir() + "/init"
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const limit = 9 << 18 // 2.25 MiB
	if st, err := os.Stat(bin); err != nil || st.Size() > limit {
		t.Errorf("init has %s bytes (%v), limit %d: what does it link that it did not before?", strconv.FormatInt(st.Size(), 10), err, limit)
	}
}
