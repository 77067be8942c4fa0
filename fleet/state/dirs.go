// Package state is what a fleet of machines keeps on disk, and nothing else: folders,
// records, locks.
//
//	STATE/lock                   held by whoever makes, renames or removes something
//	STATE/vms/ID/vm.json         what a machine is and what is wanted of it
//	STATE/vms/ID/lock            held by whoever starts, stops or changes it
//	STATE/vms/ID/journal         what happened to it, a line of JSON each
//	STATE/vms/ID/console.log ... what it wrote
//	STATE/vms/ID/disk0.qcow2 ... its layers on images
//	STATE/networks/ID.json
//	RUN/vms/ID/alive             locked by the machine's process as long as it lives
//	RUN/vms/ID/root/             the only folder that process sees: its sockets
//
// Records are written to a temporary file, flushed and renamed, so a reader sees a
// whole one, the old or the new. Whether a process lives is told by its lock alone,
// which the kernel takes away with it; a number of a process can be another's by now.
//
// Package fleet calls it, and each machine's process. It starts and stops nothing.
package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Dirs says where things are.
type Dirs struct {
	// State outlives a reboot, Run does not.
	State, Run string
}

// The environment variables that say where things are, for tests and for several
// fleets on one host.
const (
	EnvState = "GUREUM_STATE"
	EnvRun   = "GUREUM_RUN"
)

// DefaultDirs are $GUREUM_STATE and $GUREUM_RUN, else /var/lib/gureum and /run/gureum
// for root, else gureum in the user's folders (XDG Base Directory Specification).
func DefaultDirs() (Dirs, error) {
	d := Dirs{os.Getenv(EnvState), os.Getenv(EnvRun)}
	var err error
	if d.State == "" {
		if d.State, err = defaultState(); err != nil {
			return d, err
		}
	}
	if d.Run == "" {
		d.Run = defaultRun(d.State)
	}
	if d.State, err = filepath.Abs(d.State); err != nil {
		return d, err
	}
	d.Run, err = filepath.Abs(d.Run)
	return d, err
}

func defaultState() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/gureum", nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "gureum"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no folder for machines: %w: set %s", err, EnvState)
	}
	return filepath.Join(home, ".local/state/gureum"), nil
}

// defaultRun falls back to a folder below the durable one: locks work there, too.
func defaultRun(stateDir string) string {
	if os.Geteuid() == 0 {
		return "/run/gureum"
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "gureum")
	}
	return filepath.Join(stateDir, "run")
}

// maxRunDir leaves room for /vms/ID/root/vsock.sock_PORT in the 107 bytes of a Unix
// socket's path (unix(7)).
const maxRunDir = 107 - len("/vms/") - IDLength - len("/root/vsock.sock_4294967295")

// Make makes the folders. A run folder with a path too long for sockets is refused.
func (d Dirs) Make() error {
	if len(d.Run) > maxRunDir {
		return fmt.Errorf("run folder %s: its path has %d characters, and sockets in it leave room for %d: set %s", d.Run, len(d.Run), maxRunDir, EnvRun)
	}
	return errors.Join(
		os.MkdirAll(filepath.Join(d.State, "vms"), 0o711),
		os.MkdirAll(filepath.Join(d.State, "networks"), 0o755),
		os.MkdirAll(filepath.Join(d.Run, "vms"), 0o711),
		os.MkdirAll(filepath.Join(d.Run, "networks"), 0o755),
	)
}

// VMDir is where a machine's durable files are.
func (d Dirs) VMDir(id string) string { return filepath.Join(d.State, "vms", id) }

// VMRun is where its files are that a reboot removes.
func (d Dirs) VMRun(id string) string { return filepath.Join(d.Run, "vms", id) }

// VMRoot is the folder that its process sees as /.
func (d Dirs) VMRoot(id string) string { return filepath.Join(d.VMRun(id), "root") }

// The sockets in a machine's root folder.
const (
	APISocket   = "api.sock"
	VsockSocket = "vsock.sock"
)

// API is the path of a machine's control socket.
func (d Dirs) API(id string) string { return filepath.Join(d.VMRoot(id), APISocket) }

// Vsock is the path of the socket that leads to its guest.
func (d Dirs) Vsock(id string) string { return filepath.Join(d.VMRoot(id), VsockSocket) }
