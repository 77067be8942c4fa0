package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/agent"
)

// labBinary is the program under test, built once; its path is in the command
// line of each QEMU that it starts, and in no other.
var labBinary string

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "lab-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	labBinary = filepath.Join(dir, "lab")
	cmd := exec.Command("go", "build", "-o", labBinary, "../cmd/lab")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build cmd/lab: %v\n%s", err, out)
		return 1
	}
	status := m.Run()
	if left := processes(labBinary); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "processes left behind:", left)
		status = 1
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	return status
}

// processes lists the command lines that have a word in them, but for this
// process's own.
func processes(word string) []string {
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var found []string
	for _, path := range paths {
		line, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(line), word) && path != fmt.Sprintf("/proc/%d/cmdline", os.Getpid()) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// gone waits until no process has the word in its command line.
func gone(t *testing.T, word string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left := processes(word)
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("left behind: %v", left)
		}
	}
}

// ownLab is a copy of the program at a path of this test's own.
func ownLab(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lab")
	if err := os.Link(labBinary, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func bootLab(t *testing.T, o Options) *Host {
	t.Helper()
	o.Agent, o.Log = labBinary, testLog{t}
	h, err := Boot(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// in runs a shell script in L1.
func in(t *testing.T, h *Host, c agent.Command, script string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	c.Args, c.Stdout, c.Stderr = []string{"/bin/sh", "-c", script}, &out, &errOut
	c.CleanEnv, c.Env = true, append(os.Environ(), c.Env...)
	status, err := h.Run(t.Context(), c)
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return status, out.String(), errOut.String()
}

// TestLabHost runs many commands in one L1.
func TestLabHost(t *testing.T) {
	t.Parallel()
	share, cwd := t.TempDir(), t.TempDir()
	hidden, err := os.MkdirTemp("/dev/shm", "lab-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(hidden)
	if err := os.WriteFile(filepath.Join(hidden, "file"), []byte("here"), 0o644); err != nil {
		t.Fatal(err)
	}
	h := bootLab(t, Options{CPUs: 2, Shares: []string{share}, Dir: hidden})
	tests := []struct {
		name, script   string
		cmd            agent.Command
		status         int
		stdout, stderr string
	}{
		{name: "streams apart", script: "echo out; echo err >&2", stdout: "out\n", stderr: "err\n"},
		{name: "status", script: "exit 7", status: 7},
		{name: "signal", script: "kill -TERM $$", status: 128 + 15},
		{name: "stdin", script: "cat", cmd: agent.Command{Stdin: strings.NewReader("text")}, stdout: "text"},
		{name: "environment", script: "echo $WORD", cmd: agent.Command{Env: []string{"WORD=a b"}}, stdout: "a b\n"},
		{name: "folder", script: "pwd", cmd: agent.Command{Dir: cwd}, stdout: cwd + "\n"},
		{name: "hidden folder", script: "pwd; cat file", cmd: agent.Command{Dir: hidden}, stdout: hidden + "\nhere"},
		{
			name: "KVM", script: "grep -cw svm /proc/cpuinfo; ls /dev/kvm /dev/net/tun /dev/vhost-net /dev/vhost-vsock",
			stdout: "2\n/dev/kvm\n/dev/net/tun\n/dev/vhost-net\n/dev/vhost-vsock\n",
		},
		{name: "scratch", script: "echo x >scratch && cat scratch", cmd: agent.Command{Dir: cwd}, stdout: "x\n"},
		{name: "share", script: "echo x >$0/back && mkdir $0/d && ln -s back $0/link", cmd: agent.Command{}},
		{name: "modules on demand", script: "busybox ip link add name br9 type bridge && busybox ip -o link show br9 | cut -d: -f2", stdout: " br9\n"},
		{name: "network", script: "cat /sys/class/net/lo/flags; hostname", stdout: "0x9\nlab\n"},
		{name: "mounts", script: "for m in /dev/pts /dev/shm /dev/hugepages /sys/fs/cgroup /sys/kernel/debug; do mountpoint -q $m || echo $m; done"},
		{name: "KVM is held", script: "for m in $(seq 50); do n=$(cat /sys/module/kvm_amd/refcnt); [ $n = 3 ] && break; sleep 0.1; done; echo $n", stdout: "3\n"},
		{name: "clock", script: "cat /sys/devices/system/clocksource/clocksource0/current_clocksource", stdout: "tsc\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			script := strings.ReplaceAll(tt.script, "$0", share)
			status, stdout, stderr := in(t, h, tt.cmd, script)
			if status != tt.status || stdout != tt.stdout || stderr != tt.stderr {
				t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
			}
		})
	}
	testClock(t, h)
	if err := h.Sync(t.Context()); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(share, "back")); err != nil || string(b) != "x\n" {
		t.Errorf("share: %q, %v", b, err)
	}
	if _, err := os.Stat(filepath.Join(cwd, "scratch")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was written outside of the shares came back: %v", err)
	}
	if status, err := h.Run(t.Context(), agent.Command{Args: []string{"/no/such/command"}}); status != 127 || err == nil {
		t.Errorf("no such command: status %d, %v", status, err)
	}
	testPanic(t, h)
}

// testClock holds the speed that L1 takes its time-stamp counter for against
// the machine's.
func testClock(t *testing.T, h *Host) {
	_, out, _ := in(t, h, agent.Command{}, "dmesg | sed -n 's/.*tsc: Detected \\([0-9.]*\\) MHz.*/\\1/p' | tail -n 1")
	var mhz float64
	if _, err := fmt.Sscan(out, &mhz); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	if ratio := 1000 * mhz / float64(tscKHz()); ratio < 0.999 || ratio > 1.001 {
		t.Errorf("L1's clock runs %.3f times as fast as it should", 1/ratio)
	}
}

// testPanic crashes L1, as the last thing in it.
func testPanic(t *testing.T, h *Host) {
	_, err := h.Run(t.Context(), agent.Command{Args: []string{"/bin/sh", "-c", "echo c >/proc/sysrq-trigger; sleep 60"}})
	var host *HostError
	if !errors.As(err, &host) || !strings.Contains(host.Error(), "L1 panicked") ||
		!strings.Contains(host.Console, "Kernel panic - not syncing: sysrq triggered crash") {
		t.Errorf("got %v", err)
	}
	if report(testLog{t}, 0, err) != statusFailed {
		t.Error("status of a panic")
	}
}

// TestLabInterrupt sends a running lab what Ctrl-C sends.
func TestLabInterrupt(t *testing.T) {
	t.Parallel()
	path := ownLab(t)
	tmp := t.TempDir()
	cmd := exec.Command(path, "--", "sh", "-c", "trap 'echo trapped; exit 9' INT; echo started; sleep 1000 & wait")
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 64)
	n, _ := out.Read(line)
	if got := string(line[:n]); got != "started\n" {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Fatalf("stdout %q, stderr %s", got, &stderr)
	}
	if err := cmd.Process.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	n, _ = out.Read(line)
	_ = cmd.Wait()
	if got := string(line[:n]); got != "trapped\n" || cmd.ProcessState.ExitCode() != 9 {
		t.Errorf("stdout %q, status %d, stderr %s", got, cmd.ProcessState.ExitCode(), &stderr)
	}
	gone(t, path)
	if left, _ := os.ReadDir(tmp); len(left) > 0 {
		t.Errorf("files left behind: %v", left)
	}
}

// TestLabEndsEarly ends labs before their command can have started.
func TestLabEndsEarly(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		flags  []string
		signal unix.Signal
		status int
	}{
		"interrupt":  {signal: unix.SIGINT, status: 128 + 2},
		"terminate":  {signal: unix.SIGTERM, status: 128 + 15},
		"kill":       {signal: unix.SIGKILL, status: -1},
		"time is up": {flags: []string{"--timeout", "2s"}, status: statusTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			path := ownLab(t)
			var stdout, stderr bytes.Buffer
			cmd := exec.Command(path, append(tt.flags, "--", "sleep", "1000")...)
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for tt.signal != 0 && len(processes("lab.agent="+path)) == 0 {
				time.Sleep(20 * time.Millisecond) // until QEMU is there
			}
			if tt.signal != 0 {
				_ = cmd.Process.Signal(tt.signal)
			}
			_ = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != tt.status || stdout.Len() > 0 {
				t.Errorf("status %d, stdout %q, stderr %s", got, &stdout, &stderr)
			}
			if tt.status == statusTimeout && !strings.Contains(stderr.String(), "console") {
				t.Errorf("no console in: %s", &stderr)
			}
			gone(t, path)
		})
	}
}

// TestLabHangs waits for an L1 that has no time to come up.
func TestLabHangs(t *testing.T) {
	t.Parallel()
	path := ownLab(t)
	_, err := Boot(t.Context(), Options{Agent: path, BootTimeout: time.Second, Log: testLog{t}})
	var host *HostError
	if !errors.As(err, &host) || !strings.Contains(host.Error(), "L1 did not come up: ") ||
		!strings.Contains(host.Error(), "nothing heard from it within 1s") {
		t.Errorf("got %v", err)
	}
	gone(t, path)
}

// virtualTime prints how long a fixed amount of work took, in µs of L1's time. It opens no
// file in the meantime: for each the host answers, when it finds the time.
const virtualTime = `work() { i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; }
work; a=${EPOCHREALTIME/./}; work; b=${EPOCHREALTIME/./}; echo $((b-a))`

// TestLabDeterministic holds two boots' measurements against each other.
func TestLabDeterministic(t *testing.T) {
	t.Parallel()
	var took [2]float64
	for i := range took {
		h := bootLab(t, Options{Deterministic: true})
		_, out, _ := in(t, h, agent.Command{}, "exec bash -c '"+virtualTime+"'")
		if _, err := fmt.Sscan(out, &took[i]); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		h.Close()
	}
	t.Logf("%.3f ms and %.3f ms", took[0]/1e3, took[1]/1e3)
	if ratio := took[0] / took[1]; ratio < 0.98 || ratio > 1.02 {
		t.Errorf("two runs took %.0f and %.0f µs of virtual time", took[0], took[1])
	}
}

// TestLabTerminal gives a command in L1 a terminal, through the program.
func TestLabTerminal(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	p := openTestTerminal(t, 31, 97)
	cmd := exec.CommandContext(ctx, ownLab(t), "--", "sh", "-c", "stty size; read x; stty size; echo got $x; sleep 100")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.slave, p.slave, p.slave
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.expect("31 97\r\n")
	p.resize(40, 120)
	p.write("word\r")
	p.expect("40 120\r\ngot word\r\n")
	p.write("\x03") // Ctrl-C, which the terminal in L1 makes a signal of
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 128+2 {
		t.Errorf("status %d", got)
	}
	if !p.sane() {
		t.Error("the terminal was left in raw mode")
	}
}
