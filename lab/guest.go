package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/agent"
)

// machineRoot is where L1 has this machine's files without its own mounts.
const machineRoot = "/run/lab/root"

// InL1 says whether this process is L1's first one, and so has to Serve.
func InL1() bool {
	if os.Getpid() != 1 {
		return false
	}
	b, err := os.ReadFile("/proc/cmdline")
	return err == nil && strings.Contains(string(b), " "+agentWord)
}

// Serve makes L1 a usual host and runs the commands that the lab sends. It
// never returns: L1 ends with it.
func Serve() {
	fmt.Fprintln(os.Stderr, "lab agent:", serve())
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	os.Exit(1) // and so the kernel panics, which ends L1 too
}

func serve() error {
	port, err := openPort(agentPort)
	if err != nil {
		return err
	}
	s, err := readSetup(port)
	if err != nil {
		return fmt.Errorf("read the set-up: %w", err)
	}
	ready := make(chan struct{})
	go func() {
		defer close(ready)
		if err := s.apply(); err != nil {
			fmt.Fprintln(os.Stderr, "lab agent: set up L1:", err)
			_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
		}
		if !s.hold {
			return
		}
		if _, err := holdKVM(); err != nil {
			fmt.Fprintln(os.Stderr, "lab agent:", err) // the command will say what it lacks
		}
	}()
	err = agent.Serve(port, agent.ServeOptions{
		Reaper: agent.NewReaper(true),
		Ready:  func() error { <-ready; return nil },
	})
	if err == nil {
		err = errors.New("the lab is gone")
	}
	return err
}

// openPort finds a virtio-serial port by name.
func openPort(name string) (*os.File, error) {
	names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
	for _, path := range names {
		b, err := os.ReadFile(path)
		if err == nil && strings.TrimSpace(string(b)) == name {
			return os.OpenFile("/dev/"+filepath.Base(filepath.Dir(path)), os.O_RDWR, 0)
		}
	}
	return nil, fmt.Errorf("no virtio-serial port %s", name)
}

// setup is what the agent needs to know before the first command.
type setup struct {
	modules string   // folder of L1's kernel modules on this machine
	dir     string   // where the first command will run
	shares  []string // writable folders, in the order of their mount tags
	hold    bool     // see holdKVM
}

// encode is the form in which a setup goes over the wire, ahead of the agent
// protocol: a 32-bit length, then strings that end with a zero byte.
func (s setup) encode() []byte {
	text := strings.Join(append([]string{strconv.FormatBool(s.hold), s.modules, s.dir}, s.shares...), "\x00")
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(text))), text...)
}

// maxSetup bounds what the agent takes for a setup, in bytes.
const maxSetup = 1 << 20

func readSetup(r io.Reader) (setup, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return setup{}, err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n > maxSetup {
		return setup{}, fmt.Errorf("%d bytes long", n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return setup{}, err
	}
	f := strings.Split(string(text), "\x00")
	if len(f) < 3 {
		return setup{}, errors.New("incomplete")
	}
	return setup{hold: f[0] == "true", modules: f[1], dir: f[2], shares: f[3:]}, nil
}
