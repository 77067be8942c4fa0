package jail

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/net/tap"
)

// TestKVMMachineRunsInJail boots a guest inside and has it use its devices. The kernel's
// audit log has each call that a filter denies.
func TestKVMMachineRunsInJail(t *testing.T) {
	link := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: jailTap}, Mode: netlink.TUNTAP_MODE_TAP, Flags: unix.IFF_VNET_HDR | unix.IFF_NO_PI}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(link) })
	addr, err := netlink.ParseAddr("10.9.0.1/24")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(link, addr); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"tap", "vhost"} {
		t.Run(mode, func(t *testing.T) { testMachine(t, mode) })
	}
}

func testMachine(t *testing.T, mode string) {
	root := newRoot(t)
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 16<<20); err != nil {
		t.Fatal(err)
	}
	queues, err := tap.Attach(jailTap, 1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", root, disk, mode)
	cmd.Env = append(os.Environ(), envRole+"="+roleMachine)
	cmd.ExtraFiles = queues
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	attackJail(root).Attr(cmd.SysProcAttr)
	before := auditLog(t)
	out, err := cmd.CombinedOutput()
	for _, q := range queues {
		_ = q.Close()
	}
	if err != nil || !strings.Contains(string(out), "clean end") {
		t.Errorf("%v: %s", err, out)
	}
	t.Logf("%s", out)
	after := auditLog(t)
	for _, line := range after {
		if !slices.Contains(before, line) {
			t.Errorf("denied: %s", line)
		}
	}
}

// auditLog is what the kernel's log has of calls that a filter denied (AUDIT_SECCOMP).
func auditLog(t *testing.T) []string {
	t.Helper()
	buf := make([]byte, 1<<20)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, buf)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(buf[:n])) {
		if strings.Contains(line, "type=1326") && !strings.Contains(line, " syscall=435 ") { // clone3, in builds with cgo
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}
