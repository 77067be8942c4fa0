package load

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/guest/agent"
)

// VsockPipe sends in to a port of the host, says that this was all, and writes the
// answer to out.
func VsockPipe(port uint32, in io.Reader, out io.Writer) error {
	f, err := agent.DialHost(port)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, in); err != nil {
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var shut error
	if err := raw.Control(func(fd uintptr) { shut = unix.Shutdown(int(fd), unix.SHUT_WR) }); err != nil || shut != nil {
		return errors.Join(err, shut)
	}
	_, err = io.Copy(out, f)
	return err
}

// VsockMany opens n connections to a port of the host, all at once, and says
// something on each.
func VsockMany(port uint32, n int) error {
	all := make([]*os.File, 0, n)
	defer func() {
		for _, f := range all {
			f.Close()
		}
	}()
	for i := range n {
		f, err := agent.DialHost(port)
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		all = append(all, f)
	}
	for i, f := range all {
		if _, err := fmt.Fprintln(f, i); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
	}
	return nil
}

// VsockKnock connects to any address and tells what the first byte is, which it is
// an error to get: who listens there ought to hang up.
func VsockKnock(cid, port uint32) error {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrVM{CID: cid, Port: port}); err != nil {
		return err
	}
	var b [1]byte
	if n, _ := unix.Write(fd, []byte("knock")); n < 0 {
		return nil
	}
	if n, _ := unix.Read(fd, b[:]); n > 0 {
		return fmt.Errorf("CID %d port %d said %#x", cid, port, b[0])
	}
	return nil
}
