package cli

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/gureum/gureum/fleet"
	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/fleet/state"
)

func TestParseSince(t *testing.T) {
	zone := time.FixedZone("", 2*3600)
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, zone)
	for text, want := range map[string]string{
		"":                          "0001-01-01T00:00:00Z",
		"10m":                       "2026-03-04T11:50:00+02:00",
		"0s":                        "2026-03-04T12:00:00+02:00",
		"2026-03-01T10:00:00Z":      "2026-03-01T10:00:00Z",
		"2026-03-01T10:00:00-05:00": "2026-03-01T10:00:00-05:00",
		"2026-03-01T10:00:00":       "2026-03-01T10:00:00+02:00",
		"2026-03-01 10:00:00":       "2026-03-01T10:00:00+02:00",
		"2026-03-01T10:00":          "2026-03-01T10:00:00+02:00",
		"2026-03-01":                "2026-03-01T00:00:00+02:00",
	} {
		if got, err := parseSince(text, now); err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%q: %s, %v", text, got.Format(time.RFC3339), err)
		}
	}
	for _, bad := range []string{"yesterday", "-5m", "10", "2026-13-01"} {
		if _, err := parseSince(bad, now); err == nil {
			t.Errorf("%q is taken for a time", bad)
		}
	}
}

func TestPrintEvent(t *testing.T) {
	seven := 7
	var out bytes.Buffer
	e := fleet.Event{ID: "0123456789ab", Name: "web", Entry: state.Entry{
		Time: time.Date(2026, 3, 4, 12, 0, 0, 5e6, time.Local), Event: "end", Reason: "powered off", Status: &seven, Error: "a\nb",
	}}
	if err := printEvent(&out, e); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.HasSuffix(got, " 0123456789ab web end reason=\"powered off\" status=7 error=\"a\\nb\"\n") || !strings.HasPrefix(got, "2026-03-04T12:00:00.005") {
		t.Errorf("%q", got)
	}
}

func TestSizeText(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0B", 1023: "1023B", 1024: "1.0K", 7654321: "7.3M", 128 << 20: "128M", 999 << 10: "999K", 1000 << 10: "1.0M",
		104806: "102K", 1 << 40: "1.0T", 1<<64 - 1: "16.0E", 102349: "99.95K",
	} {
		if want == "99.95K" {
			want = "100K" // never four digits
		}
		if got := sizeText(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestPrintSamples(t *testing.T) {
	percent := 12.34
	var out bytes.Buffer
	err := printSamples(&out, []fleet.Sample{
		{ID: "a", Name: "web", CPUPercent: &percent, Guest: 33 << 20, VMM: 7 << 20, Memory: 256 << 20, DiskRead: 10, NetOut: 2048, Exits: 99},
		{ID: "b", Name: "db", Error: "x"},
	})
	want := `ID  NAME  CPU              GUEST RSS  OF    VMM RSS  DISK R/W  NET IN/OUT  EXITS
a   web   12.3%            33.0M      256M  7.0M     10B / 0B  0B / 2.0K   99
b   db    does not answer                                                  
`
	if err != nil || out.String() != want {
		t.Errorf("\n%s", out.String())
	}
}

func TestLabelled(t *testing.T) {
	list := []*fleet.Machine{
		{VM: &state.VM{Name: "a", Spec: spec.Spec{Label: []string{"tier=web", "x"}}}},
		{VM: &state.VM{Name: "b", Spec: spec.Spec{Label: []string{"tier=db"}}}},
		{VM: &state.VM{Name: "c"}},
	}
	for want, labels := range map[string][]string{
		"a b c": nil, "a b": {"tier"}, "b": {"tier=db"}, "a": {"tier", "x"}, "": {"tier="},
	} {
		got, err := labelled(list, labels)
		var names []string
		for _, m := range got {
			names = append(names, m.Name)
		}
		if strings.Join(names, " ") != want || err != nil || got == nil {
			t.Errorf("%q: %q, %v", labels, names, err)
		}
	}
	if _, err := labelled(list, []string{"=x"}); err == nil {
		t.Error("a label without a key")
	}
}

// TestSSHArguments has the ssh client of this machine read the arguments, where it has one.
func TestSSHArguments(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `a "b" c%d`)
	fl := &fleet.Fleet{Dirs: state.Dirs{State: dir, Run: dir}}
	m := &fleet.Machine{VM: &state.VM{ID: "0123456789ab", Name: "web", Spec: spec.Spec{User: "admin"}}}
	o := sshOptions{port: 2222, wait: time.Minute, identity: []string{"key"}, options: []string{"LogLevel=DEBUG", "Compression=yes"}}
	args := o.arguments(fl, m, "/opt/it's here/gureum", false)
	for _, want := range []string{
		`ProxyCommand='/opt/it'\''s here/gureum' 'ssh-proxy' '--wait' '1m0s' '0123456789ab' '2222'`,
		"StrictHostKeyChecking=accept-new", "HostKeyAlias=0123456789ab", "ConnectTimeout=90", "BatchMode=yes", "admin", "key",
	} {
		if !slices.Contains(args, want) {
			t.Errorf("%q is missing in %q", want, args)
		}
	}
	if !slices.Equal(args[len(args)-4:], []string{"-l", "admin", "--", "web"}) {
		t.Errorf("it ends with %q", args[len(args)-4:])
	}
	if a, b := slices.Index(args, "LogLevel=DEBUG"), slices.Index(args, "LogLevel=ERROR"); a > b {
		t.Error("the user's option is behind ours")
	}
	if slices.Contains(o.arguments(fl, m, "g", true), "BatchMode=yes") {
		t.Error("ssh may not ask on a terminal")
	}
	o.user = "other"
	if args := o.arguments(fl, m, "g", false); slices.Contains(args, "admin") {
		t.Errorf("--user does not win: %q", args)
	}
	text, err := exec.Command("ssh", append([]string{"-F", "none", "-G"}, args...)...).Output()
	if errors.Is(err, exec.ErrNotFound) {
		return // what it would say is checked where there is one
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"hostkeyalias 0123456789ab\n", "user admin\n", "loglevel DEBUG", "stricthostkeychecking accept-new\n", "\nproxycommand '/opt/it'\\''s here/gureum' 'ssh-proxy'"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

// TestCompletion asks as a shell does.
func TestCompletion(t *testing.T) {
	base, err := os.MkdirTemp("", "gur")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(base)
	t.Setenv(state.EnvState, filepath.Join(base, "s"))
	t.Setenv(state.EnvRun, filepath.Join(base, "r"))
	dirs, err := state.DefaultDirs()
	if err != nil {
		t.Fatal(err)
	}
	if err := dirs.Make(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"web", "worker", "db"} {
		if err := dirs.PutVM(&state.VM{ID: state.NewID(state.IDLength), Name: name, Created: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	for line, want := range map[string]string{
		"start ":          "web worker db",
		"start w":         "web worker",
		"start web w":     "worker",
		"stop ":           "", // none runs
		"inspect d":       "db",
		"logs w":          "web worker",
		"ssh w":           "",
		"restart web db ": "worker",
		"cp w":            "", // none runs
	} {
		var out bytes.Buffer
		words := strings.Split(line, " ")
		if status := Main(append([]string{cobra.ShellCompNoDescRequestCmd}, words...), Streams{Out: &out, Err: &bytes.Buffer{}}); status != 0 {
			t.Errorf("%q: status %d", line, status)
		}
		names := strings.Fields(out.String())
		if got := strings.Join(names[:len(names)-1], " "); got != want { // the last is a directive
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

// TestEveryCommandExplainsItself: a text and examples for each that is not hidden.
func TestEveryCommandExplainsItself(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Hidden || cmd.Name() == "completion" || cmd.Name() == "help" {
			return
		}
		if cmd.HasParent() && (cmd.Short == "" || cmd.Example == "") {
			t.Errorf("%s has no text or no example", cmd.CommandPath())
		}
		for _, child := range cmd.Commands() {
			walk(child)
		}
	}
	walk(NewRoot(Streams{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}))
}
