package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// How often a run of TestKVMKilledAnywhere kills, and where its chance begins. A run that
// failed printed the latter.
const (
	envPoints = "GUREUM_CRASH_POINTS"
	envSeed   = "GUREUM_CRASH_SEED"
)

const (
	// defaultPoints are one for each command.
	defaultPoints = 12
	// soon is how long a command may take that asks nobody, in the lab and with the race
	// detector; done is for those that wait for guests.
	soon = time.Minute
	done = 5 * time.Minute
)

// crash is a fleet whose commands and processes are killed.
type crash struct {
	*testing.T
	program, base, state, run string
	env                       []string
	chance                    *rand.Rand
	calm                      map[string]int           // how many calls a command makes that change something
	took                      map[string]time.Duration // and how long it takes
	points, cut               int
	killing                   bool
	witness                   string // id of the machine that nothing may harm
}

func newCrash(t *testing.T) *crash {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv(envSeed); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s=%d does the same again", envSeed, seed)
	program, err := exec.LookPath("gureum")
	if err != nil {
		t.Fatal(err)
	}
	base, err := os.MkdirTemp("", "gur")
	if err != nil {
		t.Fatal(err)
	}
	c := &crash{
		T: t, program: program, base: base, state: base + "/s", run: base + "/r",
		chance: rand.New(rand.NewPCG(seed, seed)), calm: map[string]int{}, took: map[string]time.Duration{},
	}
	c.env = append(os.Environ(), "GUREUM_STATE="+c.state, "GUREUM_RUN="+c.run, "XDG_CACHE_HOME="+base+"/cache", "GOCOVERDIR="+base)
	t.Cleanup(func() {
		for _, p := range processes(c.run) {
			_ = unix.Kill(p.pid, unix.SIGKILL)
		}
		_ = os.RemoveAll(base)
	})
	c.write("disk.raw", strings.Repeat("\x00", 1<<20))
	c.write("vms.yaml", "name: shop\nnetworks:\n  aisle: {}\nmachines:\n  till:\n    net: [aisle]\n")
	return c
}

func (c *crash) write(name, text string) {
	c.Helper()
	if err := os.WriteFile(filepath.Join(c.base, name), []byte(text), 0o600); err != nil {
		c.Fatal(err)
	}
}

// try runs a command to its end.
func (c *crash) try(limit time.Duration, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.program, args...)
	cmd.Dir, cmd.Env = c.base, c.env
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("it takes longer than %s", limit)
	}
	return out.String(), errs.String(), err
}

// must runs a command that is to succeed.
func (c *crash) must(args ...string) string {
	c.Helper()
	out, errs, err := c.try(done, args...)
	if err != nil {
		c.Fatalf("gureum %s: %v\n%s%s", strings.Join(args, " "), err, out, errs)
	}
	return strings.TrimSpace(out)
}

// machine is what ps tells of one.
type machine struct {
	ID, Name, Phase string
}

func (c *crash) ps() []machine {
	c.Helper()
	out, errs, err := c.try(soon, "ps", "-a", "--json")
	if err != nil {
		c.Fatalf("ps: %v\n%s", err, errs)
	}
	var list []machine
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		c.Fatalf("ps: %v\n%s", err, out)
	}
	return list
}

// there tells whether a machine has that name.
func (c *crash) there(name string) bool {
	c.Helper()
	for _, m := range c.ps() {
		if m.Name == name {
			return true
		}
	}
	return false
}

// eventually waits for something to be the case.
func (c *crash) eventually(limit time.Duration, what func() error) {
	c.Helper()
	end := time.Now().Add(limit)
	for {
		err := what()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			c.Fatalf("after %s still: %v", limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// truth expects ps to tell what processes there are.
func (c *crash) truth() {
	c.Helper()
	c.eventually(soon, func() error {
		lives := map[string]bool{}
		for _, p := range processes(c.run) {
			if p.role == "vmm" {
				lives[p.id] = true
			}
		}
		for _, m := range c.ps() {
			if up := m.Phase == "running"; up != lives[m.ID] {
				return fmt.Errorf("ps says that %s is %s; its process lives: %v", m.Name, m.Phase, lives[m.ID])
			}
		}
		return nil
	})
}

// answers expects the witness's agent to answer.
func (c *crash) answers() {
	c.Helper()
	if out := c.must("exec", "--wait", "20s", "witness", "cat", "/www/x"); out != "here" {
		c.Errorf("the witness says %q", out)
	}
}

// unharmed expects the witness to answer by its published port.
func (c *crash) unharmed() {
	c.Helper()
	if c.witness == "" {
		return
	}
	c.eventually(soon, func() error {
		conn, err := net.DialTimeout("tcp", "127.0.0.1:8080", time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
		_, err = io.WriteString(conn, "GET /x HTTP/1.0\r\n\r\n")
		text, readErr := io.ReadAll(conn)
		if err = errors.Join(err, readErr); err == nil && !strings.Contains(string(text), "here") {
			err = fmt.Errorf("its server says %q", text)
		}
		return err
	})
}

func (c *crash) startWitness() {
	c.Helper()
	c.witness = c.must("run", "-d", "--name", "witness", "--memory", "64M", "--net", "yard", "--publish", "127.0.0.1:8080:80", "--wait-for", "agent")
	c.must("exec", "witness", "sh", "-c", "mkdir /www && echo here > /www/x && httpd -p 80 -h /www")
	c.unharmed()
}

// strangers are the processes of a role that are not the witness.
func (c *crash) strangers(role string) (out []process) {
	for _, p := range processes(c.run) {
		if p.role == role && p.id != c.witness {
			out = append(out, p)
		}
	}
	return out
}

// victims are what is killed at a point: the command in most cases, with or without
// a process of the fleet, or one of these alone.
var victims = [...][]string{
	{"command"},
	{"command"},
	{"command"},
	{"command"},
	{"command"},
	{"command", "vmm"},
	{"command", "supervise"},
	{"vmm"},
	{"netd"},
	{"command", "netd", "supervise", "vmm"},
}

func (c *crash) kill(command int, who []string) {
	for _, role := range who {
		if role == "command" {
			_ = unix.Kill(command, unix.SIGKILL)
			continue
		}
		for _, p := range c.strangers(role) {
			_ = unix.Kill(p.pid, unix.SIGKILL)
		}
	}
}

// interrupted runs a command and kills at one point of it.
func (c *crash) interrupted(name string, args []string) {
	c.Helper()
	out, err := os.Create(filepath.Join(c.base, "out"))
	if err != nil {
		c.Fatal(err)
	}
	defer out.Close()
	args = append([]string{c.program}, args...)
	point, who := 0, victims[c.chance.IntN(len(victims))]
	var delay time.Duration
	if c.killing {
		point = 1 + c.chance.IntN(c.calm[name])
		if c.chance.IntN(4) == 0 {
			point, delay = 0, time.Duration(c.chance.Int64N(int64(c.took[name])))
		}
	}
	began := time.Now()
	var timer *time.Timer
	status, count, err := trace(out, c.env, args, func(pid, count int) {
		if delay > 0 && timer == nil {
			timer = time.AfterFunc(delay, func() { c.kill(pid, who) })
		}
		if count == point {
			c.kill(pid, who)
		}
	})
	if err != nil {
		c.Fatal(err)
	}
	if timer != nil {
		timer.Stop()
	}
	if !c.killing {
		text, _ := os.ReadFile(out.Name())
		if status.ExitStatus() != 0 {
			c.Fatalf("%s: status %d: %s", name, status.ExitStatus(), text)
		}
		c.calm[name], c.took[name] = count, time.Since(began)
		c.Logf("%s: %d calls that change something, %s", name, count, c.took[name].Round(time.Millisecond))
		return
	}
	c.points++
	if status.Signaled() {
		c.cut++
	}
	c.Logf("%d. %s: killed %s at call %d of %d, or after %s: status %#x", c.points, name, strings.Join(who, ", "), point, c.calm[name], delay, status)
}

// step is one command that is interrupted, and how it is done again.
type step struct {
	name string
	args []string
	// again does what was interrupted once more, with success.
	again func(c *crash)
}

var run = []string{"run", "-d", "--name", "v", "--memory", "64M", "--net", "yard", "--publish", "127.0.0.1:8081:80", "--disk", "disk.raw,ro", "--env", "A=b"}

// sequence is all that is interrupted, in an order in which each finds what it needs.
var sequence = []step{
	{"network create", []string{"network", "create", "field"}, func(c *crash) {
		if !strings.Contains(c.must("network", "ls", "-o", "go-template={{.name}}"), "field") {
			c.must("network", "create", "field")
		}
	}},
	{"network rm", []string{"network", "rm", "field"}, func(c *crash) {
		if strings.Contains(c.must("network", "ls", "-o", "go-template={{.name}}"), "field") {
			c.must("network", "rm", "field")
		}
	}},
	{"run -d", run, func(c *crash) {
		if c.there("v") {
			c.must("rm", "-f", "v")
		}
		c.must(run...)
	}},
	{"restart", []string{"restart", "--timeout", "1s", "v"}, func(c *crash) { c.must("restart", "--timeout", "1s", "v") }},
	{"stop", []string{"stop", "--timeout", "2s", "v"}, func(c *crash) { c.must("stop", "--timeout", "1s", "v") }},
	{"start", []string{"start", "v"}, func(c *crash) {
		c.eventually(soon, func() error { // one that runs already is refused
			_, errs, err := c.try(soon, "start", "v")
			if err != nil && strings.Contains(errs, "runs already") {
				return nil
			}
			return err
		})
	}},
	{"kill", []string{"kill", "v"}, func(c *crash) { c.must("kill", "v"); c.must("start", "v") }},
	{"rm -f", []string{"rm", "-f", "v"}, func(c *crash) {
		if c.there("v") {
			c.must("rm", "-f", "v")
		}
	}},
	{"create", append([]string{"create"}, run[2:]...), func(c *crash) {
		if c.there("v") {
			c.must("rm", "-f", "v")
		}
		c.must(append([]string{"create"}, run[2:]...)...)
		c.must("rm", "v")
	}},
	{"run in the foreground", []string{"run", "--name", "w", "--memory", "64M", "--net", "yard", "--", "true"}, func(c *crash) {
		if c.there("w") {
			_, _, _ = c.try(done, "rm", "-f", "w") // the supervisor may have been first
		}
		c.must("run", "--name", "w", "--memory", "64M", "--net", "yard", "--", "true")
	}},
	{"up", []string{"up", "-f", "vms.yaml"}, func(c *crash) {
		c.must("up", "-f", "vms.yaml")
		c.must("exec", "--wait", "5m", "till", "true") // one that is not up is slow to switch itself off
	}},
	{"down", []string{"down", "-f", "vms.yaml"}, func(c *crash) { c.must("down", "-f", "vms.yaml") }},
}

// round interrupts all of the sequence, but not more than the given number of commands.
func (c *crash) round(most int) {
	c.Helper()
	for _, s := range sequence {
		if c.Failed() {
			return
		}
		if c.killing && most == 0 {
			s.again(c)
			continue
		}
		most--
		outer := c.T
		// A test of its own, so that the lab sees that there is progress.
		outer.Run(s.name, func(t *testing.T) {
			c.T = t
			defer func() { c.T = outer }()
			c.interrupted(s.name, s.args)
			c.truth()
			c.unharmed()
			s.again(c)
		})
	}
}

// same expects the host to become as it was.
func (c *crash) same(before []string) {
	c.Helper()
	c.eventually(soon, func() error {
		after, err := portrait(c.run, c.state, "/run/gureum")
		if err != nil {
			return err
		}
		gone, left := differences(before, after)
		if len(gone)+len(left) > 0 {
			return fmt.Errorf("the host is not as it was:\ngone:\n%s\nleft:\n%s", strings.Join(gone, "\n"), strings.Join(left, "\n"))
		}
		return nil
	})
}

func (c *crash) portrait() []string {
	c.Helper()
	p, err := portrait(c.run, c.state, "/run/gureum")
	if err != nil {
		c.Fatal(err)
	}
	return p
}

// idle waits for the end of all helpers.
func (c *crash) idle() {
	c.Helper()
	c.eventually(soon, func() error {
		if left := processes(c.run); len(left) > 0 {
			return fmt.Errorf("processes: %v", left)
		}
		return nil
	})
}

// TestKVMKilledAnywhere kills commands, and what they start, at random points, does again
// what was interrupted, and expects nothing to be left at the end.
func TestKVMKilledAnywhere(t *testing.T) {
	c := newCrash(t)
	points := defaultPoints
	if text := os.Getenv(envPoints); text != "" {
		var err error
		if points, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	c.env = append(c.env, "PWD="+c.base)
	t.Chdir(c.base)
	c.must("network", "create", "yard")
	// A calm round makes what stays, such as files of locks, and shows how long all takes.
	c.startWitness()
	c.round(0)
	c.must("rm", "-f", "witness")
	c.idle()
	start := c.portrait()
	c.startWitness()
	steady := c.portrait()
	c.killing = true
	for c.points < points && !c.Failed() {
		before := c.points
		c.round(points - c.points)
		if c.points == before {
			t.Fatal("-run leaves nothing to be killed")
		}
		c.answers()
		c.must("prune", "--force")
		c.same(steady)
	}
	t.Logf("%d points, at %d of which the command was cut short", c.points, c.cut)
	if c.cut < c.points/2 {
		t.Error("most commands were not cut short: the trial shows little")
	}
	c.must("rm", "-f", "witness")
	c.witness = ""
	c.must("prune", "--force")
	c.idle()
	c.same(start)
}
