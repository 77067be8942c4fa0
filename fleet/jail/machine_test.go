package jail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gureum/gureum/guest/agent"
	"github.com/gureum/gureum/virtio/blk"
	virtionet "github.com/gureum/gureum/virtio/net"
	"github.com/gureum/gureum/virtio/vhost"
	"github.com/gureum/gureum/vm"
)

// machineMain is a process that runs a machine in the jail. Its arguments are the root,
// a disk, and "vhost" or "tap"; the tap's queue is descriptor 3.
func machineMain() int {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})))
	signal.Ignore(syscall.SIGHUP)
	if err := runMachine(os.Args[1], os.Args[2], os.Args[3] == "vhost"); err != nil {
		fmt.Println("FAILED:", err)
		return 1
	}
	fmt.Println("clean end")
	return 0
}

const jailScript = `set -e
dd if=/dev/urandom of=/dev/vda bs=64k count=32 conv=fsync 2>/dev/null
dd if=/dev/vda of=/dev/null bs=64k count=32 2>/dev/null
blkdiscard /dev/vda 2>/dev/null || true
dd if=/dev/urandom of=/tmp/x bs=1M count=32 2>/dev/null; rm /tmp/x
ip link set eth0 up; ip addr add 10.9.0.2/24 dev eth0; ping -c 3 10.9.0.1`

func runMachine(root, disk string, kernel bool) (err error) {
	config := vm.Config{
		Name: "jailed", CPUs: 2, Memory: 256 << 20, Agent: true, OnVCPUThread: countVCPU,
		Vsock:   vm.Vsock{On: true, Path: "vsock.sock"},
		Disks:   []vm.Disk{{Path: disk, Engine: blk.EngineWorkers}},
		Balloon: vm.Balloon{},
	}
	nic := vm.NIC{Tap: jailTap, Queue: []*os.File{os.NewFile(3, "tap")}, Queues: 1, MTU: 1500, Vhost: virtionet.VhostOff}
	if kernel {
		nic.Vhost = virtionet.VhostOn
		if err := vhost.Hold("/dev/vhost-net", 1); err != nil {
			return err
		}
	}
	config.NICs = []vm.NIC{nic}
	if err := os.Chdir(root); err != nil {
		return err
	}
	m, err := vm.New(config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	// The socket is the jailed user's, who removes it.
	c := attackJail(root)
	if err := Enter(c); err != nil {
		return err
	}
	if err := m.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	if err := useGuest(ctx, m); err != nil {
		return fmt.Errorf("%w\n%s", err, m.ConsoleTail())
	}
	if err := m.Stop(ctx); err != nil {
		return err
	}
	if o := m.Wait(); o.Reason != vm.PoweredOff {
		return fmt.Errorf("the machine ended: %v, %w", o.Reason, o.Err)
	}
	if n := vcpuThreads.Load(); n != 2 {
		return fmt.Errorf("%d threads took the filter of vCPUs, want 2", n)
	}
	return nil
}

var vcpuThreads atomic.Int32

func countVCPU() error {
	vcpuThreads.Add(1)
	return EnterVCPU()
}

// useGuest has devices, the collector, timers and new threads at work all at once.
func useGuest(ctx context.Context, m *vm.Machine) error {
	client, err := m.DialAgent(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	var out bytes.Buffer
	status, err := client.Run(ctx, agent.Command{Args: []string{"sh", "-c", jailScript}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out})
	if err != nil || status.Code != 0 {
		return fmt.Errorf("in the guest: %w, status %d: %s", err, status.Code, out.String())
	}
	for range 5 {
		b := make([]byte, 32<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		runtime.GC()
		debug.FreeOSMemory()
	}
	for range 30 { // threads come and go with these goroutines
		done := make(chan struct{})
		go func() { defer close(done); runtime.LockOSThread(); time.Sleep(time.Millisecond) }()
		<-done
	}
	if err := m.Pause(); err != nil {
		return err
	}
	if err := m.Resume(); err != nil {
		return err
	}
	f, err := os.OpenFile("log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, "a line")
	return errors.Join(err, f.Sync(), f.Close(), os.Rename("log", "log.1"))
}

const jailTap = "gurj0"
