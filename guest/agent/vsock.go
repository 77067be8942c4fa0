package agent

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// VsockPort is the port of the agent on both sides of a vsock: a guest's agent calls
// the host there when it has come up, and takes calls of the host from then on.
const VsockPort = 0x4755 // "GU"

// How a guest calls the host. Linux gives up after 2 s of the guest's clock, which a
// busy host may take, or let pass all at once.
const (
	callTimeout = 30 * time.Second
	callTries   = 4
)

// DialHost connects to a port of the host (CID 2). The errors that tell that this
// kernel has no vsock, or the machine no such device, are told by [NoVsock].
func DialHost(port uint32) (*os.File, error) {
	for try := 1; ; try++ {
		f, err := dialHost(port)
		if try == callTries || !errors.Is(err, unix.ETIMEDOUT) {
			return f, err
		}
	}
}

func dialHost(port uint32) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	// A kernel that does not know the option has its own limit.
	limit := unix.NsecToTimeval(int64(callTimeout))
	_ = unix.SetsockoptTimeval(fd, unix.AF_VSOCK, unix.SO_VM_SOCKETS_CONNECT_TIMEOUT, &limit)
	for {
		err = unix.Connect(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_HOST, Port: port})
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err == nil {
		err = unix.SetNonblock(fd, true) // the file gets deadlines, and needs no thread
	}
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("connect", err)
	}
	return os.NewFile(uintptr(fd), "vsock"), nil
}

// NoVsock tells that err of DialHost or ListenVsock means that there is no vsock at
// all, in contrast to a host that does not take the call.
func NoVsock(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ESOCKTNOSUPPORT) ||
		errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EPROTONOSUPPORT)
}

// VsockListener takes the host's calls.
type VsockListener struct{ file *os.File }

// ListenVsock listens on a port for the host.
func ListenVsock(port uint32) (*VsockListener, error) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	err = unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: port})
	if err == nil {
		err = unix.Listen(fd, 16)
	}
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	return &VsockListener{os.NewFile(uintptr(fd), "vsock listener")}, nil
}

// Accept waits for the next call of the host. Others are hung up on: a program in
// the guest itself reaches this port as well, and must not run commands as us.
func (l *VsockListener) Accept() (*os.File, error) {
	raw, err := l.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	for {
		fd, fault := -1, error(nil)
		var from unix.Sockaddr
		err := raw.Read(func(s uintptr) bool {
			fd, from, fault = unix.Accept4(int(s), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			return !errors.Is(fault, unix.EAGAIN)
		})
		switch {
		case err != nil:
			return nil, err
		case errors.Is(fault, unix.EINTR) || errors.Is(fault, unix.ECONNABORTED):
			continue
		case fault != nil:
			return nil, os.NewSyscallError("accept", fault)
		}
		if vm, ok := from.(*unix.SockaddrVM); ok && vm.CID == unix.VMADDR_CID_HOST {
			return os.NewFile(uintptr(fd), "vsock"), nil
		}
		unix.Close(fd)
	}
}

// Close ends Accept.
func (l *VsockListener) Close() error { return l.file.Close() }

// maxCalls is how many connections of hosts a guest serves at once.
const maxCalls = 16

// ServeVsock serves every call of the host that l takes, each with its own commands,
// until l is closed.
func ServeVsock(l *VsockListener, opts ServeOptions) error {
	if opts.Reaper == nil {
		opts.Reaper = NewReaper(false)
	}
	opts.Reliable = true
	room := make(chan struct{}, maxCalls)
	for {
		room <- struct{}{}
		call, err := l.Accept()
		if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM) {
			<-room
			time.Sleep(100 * time.Millisecond) // until something has been closed
			continue
		}
		if err != nil {
			return err
		}
		go func() {
			_ = Serve(call, opts) // its host has gone: there is nobody to tell
			call.Close()
			<-room
		}()
	}
}
