package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/agent"
)

// Suite is a run of the Go tests that need KVM, in one L1 for all of them or a
// few side by side, or right here where the machine has KVM.
type Suite struct {
	// Host says what L1 is like. Its command and streams are not used.
	Host Options
	// Direct runs the tests on this machine.
	Direct bool

	Packages []string // as 'go list' takes them; "." by default
	Parallel int      // packages tested at a time, each in an L1 of its own; 1 by default
	Run      string   // pattern of test names; "^TestKVM" by default
	Verbose  bool
	NoRace   bool
	// RaceExcept are ends of the paths of packages that are tested without the race detector.
	RaceExcept   []string
	Count        int           // how often each test runs; 1 by default
	Timeout      time.Duration // of one package; 10 minutes by default
	CoverPackage string        // pattern of packages to cover; each its own by default
	CoverProfile string        // file to write, "" = none

	// Stdout receives what 'go test' would print, Stderr build errors.
	Stdout, Stderr io.Writer
}

// overtime is how long a test program has to end by itself when its time is
// up (it prints its stacks) before it is ended.
const overtime = 30 * time.Second

// errTests is returned when tests fail, which has been told already.
var errTests = errors.New("tests failed")

// Test runs the suite. The error is errTests when it was told on Stdout.
func (s Suite) Test(ctx context.Context) error {
	s = s.withDefaults()
	pkgs, err := s.find(ctx)
	if err != nil {
		return err
	}
	if len(pkgs) == 0 {
		fmt.Fprintln(s.Stderr, "lab: no package has a *_kvm_test.go")
		return nil
	}
	tmp, err := os.MkdirTemp("", "gureum-lab-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	built, err := s.build(ctx, tmp, pkgs)
	if err != nil {
		return err
	}
	s.Host.Shares = append(s.Host.Shares, tmp)
	failed, err := s.testAll(ctx, built)
	if err != nil {
		return err
	}
	if s.CoverProfile != "" {
		if err := mergeProfiles(s.CoverProfile, built); err != nil {
			return err
		}
	}
	if failed || len(built) < len(pkgs) {
		return errTests
	}
	return nil
}

func (s Suite) withDefaults() Suite {
	if len(s.Packages) == 0 {
		s.Packages = []string{"."}
	}
	if s.Run == "" {
		s.Run = "^TestKVM"
	}
	s.Count = max(s.Count, 1)
	s.Parallel = max(s.Parallel, 1)
	if s.Direct {
		s.Parallel = 1 // tests of one host get in each other's way
	}
	if s.Timeout == 0 {
		s.Timeout = 10 * time.Minute
	}
	return s
}

// testPackage is a package with tests that need KVM.
type testPackage struct {
	path, dir string
	binary    string
	profile   string // coverage, written by the test program
}

// find lists the packages that have a file named *_kvm_test.go.
func (s Suite) find(ctx context.Context) ([]testPackage, error) {
	format := "{{.ImportPath}}\t{{.Dir}}{{range .TestGoFiles}}\t{{.}}{{end}}{{range .XTestGoFiles}}\t{{.}}{{end}}"
	var out bytes.Buffer
	cmd := goCommand(ctx, append([]string{"list", "-f", format}, s.Packages...)...)
	cmd.Stdout, cmd.Stderr = &out, s.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("list the packages: %w", err)
	}
	return parseList(out.String()), nil
}

func parseList(out string) []testPackage {
	var pkgs []testPackage
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		for _, file := range f[min(2, len(f)):] {
			if strings.HasSuffix(file, "_kvm_test.go") {
				pkgs = append(pkgs, testPackage{path: f[0], dir: f[1]})
				break
			}
		}
	}
	return pkgs
}

// build compiles the test programs. A package that does not compile is told
// as 'go test' does and left out.
func (s Suite) build(ctx context.Context, tmp string, pkgs []testPackage) ([]testPackage, error) {
	var built []testPackage
	for i, p := range pkgs {
		p.binary = filepath.Join(tmp, fmt.Sprintf("%d-%s.test", i, filepath.Base(p.path)))
		p.profile = filepath.Join(tmp, strconv.Itoa(i)+".cover")
		args := []string{"test", "-c", "-o", p.binary}
		cgo := "CGO_ENABLED=0" // as the program is shipped
		if s.race(p.path) {
			args = append(args, "-race")
			cgo = "CGO_ENABLED=1"
		}
		if s.CoverProfile != "" {
			args = append(args, "-cover", "-covermode=atomic")
		}
		if s.CoverPackage != "" {
			args = append(args, "-coverpkg="+s.CoverPackage)
		}
		cmd := goCommand(ctx, append(args, p.path)...)
		cmd.Env = append(os.Environ(), cgo)
		cmd.Stdout, cmd.Stderr = s.Stderr, s.Stderr
		err := cmd.Run()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			fmt.Fprintf(s.Stdout, "FAIL\t%s [build failed]\n", p.path)
			continue
		}
		built = append(built, p)
	}
	return built, nil
}

// race tells that a package is tested with the race detector.
func (s Suite) race(path string) bool {
	excepted := func(end string) bool { return end != "" && strings.HasSuffix(path, "/"+end) }
	return !s.NoRace && !slices.ContainsFunc(s.RaceExcept, excepted)
}

// goCommand is the go tool, with all that it starts ended when ctx is.
func goCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	return cmd
}

// testAll runs the packages, Parallel of them at a time, and tells whether any failed.
func (s Suite) testAll(ctx context.Context, pkgs []testPackage) (failed bool, err error) {
	queue := make(chan testPackage, len(pkgs))
	for _, p := range pkgs {
		queue <- p
	}
	close(queue)
	s.Parallel = min(s.Parallel, len(pkgs))
	if s.Parallel > 1 {
		s.Stdout, s.Stderr = &lockedWriter{w: s.Stdout}, &lockedWriter{w: s.Stderr}
	}
	runs := make([]suiteRun, s.Parallel)
	var group errgroup.Group
	for i := range runs {
		runs[i].Suite = s
		group.Go(func() error { return runs[i].testEach(ctx, queue) })
	}
	err = group.Wait()
	return slices.ContainsFunc(runs, func(r suiteRun) bool { return r.failed }), err
}

// suiteRun runs packages one after another, in one L1 as long as it lasts.
type suiteRun struct {
	Suite
	host   *Host // nil: none yet, or the last one broke
	failed bool
}

// testEach takes packages until there are no more.
func (r *suiteRun) testEach(ctx context.Context, queue <-chan testPackage) error {
	defer r.close()
	for p := range queue {
		if err := r.boot(ctx); err != nil {
			return err
		}
		if !r.test(ctx, p) && ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// test runs one package's tests and tells the result; false when they failed.
func (r *suiteRun) test(ctx context.Context, p testPackage) bool {
	var out output
	var w io.Writer = &out
	live := r.Verbose && r.Parallel == 1
	if live {
		w = io.MultiWriter(r.Stdout, &out)
	}
	began := time.Now()
	status, err := r.watch(ctx, p, w)
	for attempt := 1; attempt < maxAttempts && hostBroke(err); attempt++ {
		fmt.Fprintf(r.Stderr, "lab: %v; running the tests of %s again on a new host\n", err, p.path)
		out = output{}
		r.close()
		if err = r.boot(ctx); err == nil {
			status, err = r.watch(ctx, p, w)
		}
	}
	took := time.Since(began)
	passed := err == nil && status == 0
	var report strings.Builder // written at once, as other packages write too
	switch {
	case live:
	case r.Verbose:
		report.WriteString(out.String())
	case !passed:
		report.WriteString(quiet(out.String()))
	}
	if passed {
		fmt.Fprintf(&report, "ok  \t%s\t%.3fs%s\n", p.path, took.Seconds(), remarks(out.String()))
	} else {
		r.failed = true
		if err != nil {
			fmt.Fprintln(&report, "lab:", err)
			r.close() // the next package gets a fresh one
		}
		fmt.Fprintf(&report, "FAIL\t%s\t%.3fs\n", p.path, took.Seconds())
	}
	_, _ = io.WriteString(r.Stdout, report.String())
	return passed
}

// lockedWriter is a writer that several share.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// Write implements io.Writer.
func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// maxOutput is how much of a package's output is kept at each end, in bytes.
const maxOutput = 4 << 20

// output keeps the beginning and the end of what a test program prints.
type output struct {
	head, tail []byte
	lost       int
}

// Write never fails.
func (o *output) Write(p []byte) (int, error) {
	n := min(len(p), maxOutput-len(o.head))
	o.head = append(o.head, p[:n]...)
	o.tail = append(o.tail, p[n:]...)
	if over := len(o.tail) - maxOutput; over > maxOutput {
		o.tail = append(o.tail[:0], o.tail[over:]...)
		o.lost += over
	}
	return len(p), nil
}

func (o *output) String() string {
	gap := ""
	if o.lost > 0 {
		gap = fmt.Sprintf("\n[lab: %d bytes of output left out]\n", o.lost)
	}
	return string(o.head) + gap + string(o.tail)
}

// remarks are what 'go test' puts behind the time of a package.
func remarks(out string) string {
	var s string
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "coverage: "):
			s += "\t" + line
		case line == "testing: warning: no tests to run":
			s += " [no tests to run]"
		}
	}
	return s
}

// run starts a package's test program, here or in L1.
func (r *suiteRun) run(ctx context.Context, p testPackage, out io.Writer) (int, error) {
	args := []string{
		p.binary, "-test.run=" + r.Run, "-test.timeout=" + r.Timeout.String(),
		"-test.count=" + strconv.Itoa(r.Count), "-test.paniconexit0",
	}
	if r.Verbose || !r.Direct {
		args = append(args, "-test.v=true") // in L1 also as a sign of life
	}
	if r.CoverProfile != "" {
		args = append(args, "-test.coverprofile="+p.profile)
	}
	ctx, done := context.WithTimeout(ctx, r.Timeout+overtime)
	defer done()
	if r.Direct {
		return runDirect(ctx, p.dir, args, out)
	}
	status, err := r.host.Run(ctx, agent.Command{
		Args: args, Env: os.Environ(), CleanEnv: true, Dir: p.dir,
		Stdout: out, Stderr: out, KillDelay: killDelay,
	})
	if err != nil {
		return status, err
	}
	return status, r.host.Sync(ctx)
}

// boot starts L1 where there is none.
func (r *suiteRun) boot(ctx context.Context) error {
	if r.Direct || r.host != nil {
		return nil
	}
	host, err := Boot(ctx, r.Host)
	if err == nil {
		r.host = host
	}
	return err
}

func (r *suiteRun) close() {
	if r.host != nil {
		r.host.Close()
		r.host = nil
	}
}

// runDirect runs a test program on this machine.
func runDirect(ctx context.Context, dir string, args []string, out io.Writer) (int, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return 1, nil
	}
	return 0, err
}
