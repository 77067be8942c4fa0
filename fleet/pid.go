package fleet

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/fleet/api"
)

// PID gives the number of a machine's process, as this process sees it. The kernel knows
// it of whoever listens on the machine's socket (unix(7), SO_PEERCRED), so it is neither
// out of date nor told by the process itself, which has another number in its own
// namespace.
func (f *Fleet) PID(id string) (int, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: f.Dirs.API(id), Net: "unix"})
	if err != nil {
		return 0, fmt.Errorf("%w: %w", api.ErrGone, err)
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, os.NewSyscallError("getsockopt", credErr)); err != nil {
		return 0, err
	}
	return int(cred.Pid), nil
}
