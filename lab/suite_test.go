package lab

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// runSuite runs packages of testdata/suite and returns what was printed, with
// times made equal.
func runSuite(t *testing.T, s Suite, pkgs ...string) (stdout, stderr string, err error) {
	t.Helper()
	for _, p := range pkgs {
		s.Packages = append(s.Packages, "./testdata/suite/"+p)
	}
	var out, errOut bytes.Buffer
	s.NoRace, s.Stdout, s.Stderr = true, &out, &errOut
	s.Host.Agent, s.Host.Log = labBinary, testLog{t}
	err = s.Test(t.Context())
	times := regexp.MustCompile(`\d+\.\d+s`)
	return times.ReplaceAllString(out.String(), "1s"), errOut.String(), err
}

func TestSuiteDirect(t *testing.T) {
	const pkg = "github.com/gureum/gureum/lab/testdata/suite/"
	const bad = "printed\n--- FAIL: TestKVMBad (1s)\n    bad_kvm_test.go:10: wrong\nFAIL\nFAIL\t" + pkg + "bad\t1s\n"
	for _, tt := range []struct {
		name, stdout string
		suite        Suite
		pkgs         []string
		err          error
	}{
		{name: "passes", pkgs: []string{"good", "plain"}, stdout: "ok  \t" + pkg + "good\t1s\n"},
		{name: "fails", pkgs: []string{"bad", "good"}, err: errTests, stdout: bad + "ok  \t" + pkg + "good\t1s\n"},
		{
			name: "does not compile", pkgs: []string{"broken", "good"}, err: errTests,
			stdout: "FAIL\t" + pkg + "broken [build failed]\nok  \t" + pkg + "good\t1s\n",
		},
		{
			name: "nothing to run", suite: Suite{Run: "^TestNone$"}, pkgs: []string{"good"},
			stdout: "ok  \t" + pkg + "good\t1s [no tests to run]\n",
		},
		{
			name: "verbose", suite: Suite{Verbose: true, Count: 2}, pkgs: []string{"good"},
			stdout: "=== RUN   TestKVMGood\n    good_kvm_test.go:15: count me\n--- PASS: TestKVMGood (1s)\n" +
				"=== RUN   TestKVMGood\n    good_kvm_test.go:15: count me\n--- PASS: TestKVMGood (1s)\n" +
				"PASS\nok  \t" + pkg + "good\t1s\n",
		},
		{name: "no such tests", pkgs: []string{"plain"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.suite.Direct = true
			stdout, stderr, err := runSuite(t, tt.suite, tt.pkgs...)
			if stdout != tt.stdout || !errors.Is(err, tt.err) {
				t.Errorf("%v, stdout:\n%swant:\n%sstderr:\n%s", err, stdout, tt.stdout, stderr)
			}
		})
	}
}

func TestSuiteCoverage(t *testing.T) {
	profile := filepath.Join(t.TempDir(), "cover.out")
	stdout, stderr, err := runSuite(t, Suite{Direct: true, CoverProfile: profile}, "good", "bad")
	if !errors.Is(err, errTests) || !bytes.Contains([]byte(stdout), []byte("good\t1s\tcoverage: 66.7% of statements\n")) {
		t.Errorf("%v, stdout %q, stderr %q", err, stdout, stderr)
	}
	got, err := os.ReadFile(profile)
	want := "mode: atomic\n" +
		"github.com/gureum/gureum/lab/testdata/suite/good/good.go:5.23,6.7 1 1\n" +
		"github.com/gureum/gureum/lab/testdata/suite/good/good.go:6.7,8.3 1 1\n" +
		"github.com/gureum/gureum/lab/testdata/suite/good/good.go:9.2,9.10 1 0\n"
	if err != nil || string(got) != want {
		t.Errorf("%v, profile:\n%s", err, got)
	}
}

func TestOutput(t *testing.T) {
	var o output
	for i := range 10 {
		_, _ = o.Write(bytes.Repeat([]byte{'0' + byte(i)}, maxOutput))
	}
	_, _ = o.Write([]byte("end"))
	got := o.String()
	if got[0] != '0' || got[maxOutput] != '\n' || !strings.HasSuffix(got, "99end") || len(o.tail) > 2*maxOutput {
		t.Errorf("kept %d bytes: %.20s", len(got), got[maxOutput:])
	}
}

func TestParseList(t *testing.T) {
	got := parseList("m/a\t/d/a\tx_test.go\tx_kvm_test.go\ty_kvm_test.go\nm/b\t/d/b\nm/c\t/d/c\tx_kvm_test.go\n")
	want := []testPackage{{path: "m/a", dir: "/d/a"}, {path: "m/c", dir: "/d/c"}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

// TestLabSuiteSideBySide runs packages at the same time, and each report is in one piece.
func TestLabSuiteSideBySide(t *testing.T) {
	t.Parallel()
	const pkg = "github.com/gureum/gureum/lab/testdata/suite/"
	profile := filepath.Join(t.TempDir(), "cover.out")
	s := Suite{Timeout: 5 * time.Minute, Parallel: 3, Verbose: true, CoverProfile: profile}
	stdout, stderr, err := runSuite(t, s, "good", "bad")
	if !errors.Is(err, errTests) {
		t.Errorf("%v, stderr %s", err, stderr)
	}
	for _, want := range []string{
		"=== RUN   TestKVMGood\n    good_kvm_test.go:15: count me\n--- PASS: TestKVMGood (1s)\nPASS\n" +
			"coverage: 66.7% of statements\nok  \t" + pkg + "good\t1s\tcoverage: 66.7% of statements\n",
		"--- FAIL: TestKVMBad (1s)\nFAIL\ncoverage: [no statements]\nFAIL\t" + pkg + "bad\t1s\n",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("stdout:\n%swant in it:\n%s", stdout, want)
		}
	}
	if b, err := os.ReadFile(profile); err != nil || !bytes.Contains(b, []byte("good.go:6.7,8.3 1 1\n")) {
		t.Errorf("profile: %v\n%s", err, b)
	}
}

// TestLabSuite crashes L1 half-way, each time; what comes after gets a new one.
func TestLabSuite(t *testing.T) {
	t.Parallel()
	profile := filepath.Join(t.TempDir(), "cover.out")
	stdout, stderr, err := runSuite(t, Suite{Timeout: 5 * time.Minute, CoverProfile: profile}, "crash", "good")
	if !errors.Is(err, errTests) {
		t.Errorf("%v, stderr %s", err, stderr)
	}
	want := regexp.MustCompile(`(?s)^lab: L1 panicked; its console ends with:\n.*Kernel panic - not syncing: sysrq triggered crash.*\n` +
		`FAIL\t\S*/suite/crash\t1s\nok  \t\S*/suite/good\t1s\tcoverage: 66.7% of statements\n$`)
	if !want.MatchString(stdout) {
		t.Errorf("stdout:\n%s", stdout)
	}
	if n := strings.Count(stderr, "running the tests of "); n != maxAttempts-1 {
		t.Errorf("the package that crashes its host ran again %d times, want %d:\n%s", n, maxAttempts-1, stderr)
	}
	if b, err := os.ReadFile(profile); err != nil || !bytes.Contains(b, []byte("good.go:6.7,8.3 1 1\n")) {
		t.Errorf("profile: %v\n%s", err, b)
	}
}

func TestRaceExcept(t *testing.T) {
	s := Suite{RaceExcept: []string{"", "fleet/e2e"}}
	for path, want := range map[string]bool{"example.com/x/fleet/e2e": false, "example.com/x/fleet": true, "example.com/x/notfleet/e2e": true} {
		if s.race(path) != want {
			t.Errorf("%s: %v", path, !want)
		}
		if (Suite{NoRace: true}).race(path) {
			t.Errorf("%s: with it, when none is", path)
		}
	}
}
