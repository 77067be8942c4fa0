package jail

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestKVMAttacks has a process do from inside the jail what it must not be able to.
func TestKVMAttacks(t *testing.T) {
	root := newRoot(t)
	secret := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	stray, err := os.Create(filepath.Join(t.TempDir(), "stray"))
	if err != nil {
		t.Fatal(err)
	}
	defer stray.Close()
	l, err := net.Listen("unix", "@"+abstractName)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	victim := exec.Command("/bin/sleep", "1000")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = victim.Process.Kill(); _ = victim.Wait() }()

	try := func(i int, how string) (string, error) {
		cmd := exec.Command("/proc/self/exe", strconv.Itoa(i), root, strconv.Itoa(victim.Process.Pid), secret, how)
		cmd.Env = []string{envRole + "=" + roleAttack}
		for range strayFD - 2 {
			cmd.ExtraFiles = append(cmd.ExtraFiles, stray)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		if how != "free" {
			attackJail(root).Attr(cmd.SysProcAttr)
		}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for i, a := range attacks() {
		t.Run(a.name, func(t *testing.T) {
			out, err := try(i, "jailed")
			if !denied(err) {
				t.Errorf("in the jail: %s (%v)", out, err)
			}
			t.Logf("in the jail: %s (%v)", out, err)
			if !a.harmless {
				return
			}
			if out, err := try(i, "free"); err != nil {
				t.Errorf("without the jail it fails as well, so it shows nothing: %s (%v)", out, err)
			}
		})
	}
}

// denied tells whether the attack gave an error, or cost the attacker its life.
func denied(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	w, _ := exit.Sys().(syscall.WaitStatus)
	return w.Exited() && w.ExitStatus() == 1 || w.Signaled() && w.Signal() == unix.SIGSYS
}

// newRoot is a folder of the jailed user's.
func newRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	c := attackJail(root)
	if err := os.Chown(root, c.UID, c.GID); err != nil {
		t.Fatal(err)
	}
	return root
}
