package vhost

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// reqResetOwner makes a device as new, so that it can be opened again without its file.
const reqResetOwner = 0xaf02

var hold struct {
	mu   sync.Mutex
	free map[string][]int
}

// Hold opens a device count times for calls of Open to come. It is for processes that
// lose the right, or the sight of the file, before a driver starts its device.
func Hold(path string, count int) error {
	for range count {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", path, err)
		}
		give(path, fd)
	}
	return nil
}

// Release closes what Hold opened and nobody uses.
func Release() {
	hold.mu.Lock()
	defer hold.mu.Unlock()
	for _, fds := range hold.free {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}
	hold.free = nil
}

func give(path string, fd int) {
	hold.mu.Lock()
	defer hold.mu.Unlock()
	if hold.free == nil {
		hold.free = make(map[string][]int)
	}
	hold.free[path] = append(hold.free[path], fd)
}

func take(path string) (int, bool) {
	hold.mu.Lock()
	defer hold.mu.Unlock()
	fds := hold.free[path]
	if len(fds) == 0 {
		return -1, false
	}
	hold.free[path] = fds[:len(fds)-1]
	return fds[len(fds)-1], true
}
