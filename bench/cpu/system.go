package cpu

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

func prepareSyscall() (func(int) error, func(), error) {
	return func(n int) error {
		for range n {
			unix.Getppid()
		}
		return nil
	}, nothing, nil
}

// EchoArg is what a program that uses this package is called with to be the other process
// of the context switches, and ExitArg to end at once: it calls Other first thing.
const (
	EchoArg = "bench-echo"
	ExitArg = "bench-exit"
)

// Other is the program as the other process of a load; false if it is not one.
func Other(args []string) bool {
	if len(args) != 1 {
		return false
	}
	switch args[0] {
	case ExitArg:
		return true
	case EchoArg:
		_, _ = io.CopyBuffer(struct{ io.Writer }{os.Stdout}, struct{ io.Reader }{os.Stdin}, make([]byte, 1))
		return true
	}
	return false
}

// self is this program, as another process.
func self(arg string) *exec.Cmd { return exec.Command("/proc/self/exe", arg) }

// prepareSwitch sends a byte to and fro. Both processes are on one CPU, so that each
// answer takes two switches.
func prepareSwitch() (func(int) error, func(), error) {
	other := self(EchoArg)
	in, err := other.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := other.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	restore, err := stayOnOneCPU()
	if err != nil {
		return nil, nil, err
	}
	if err := other.Start(); err != nil { // it inherits the CPU
		restore()
		return nil, nil, err
	}
	end := func() {
		_ = in.Close()
		_ = other.Wait()
		restore()
	}
	b := make([]byte, 1)
	return func(n int) error {
		for range n {
			if _, err := in.Write(b); err != nil {
				return err
			}
			if _, err := io.ReadFull(out, b); err != nil {
				return err
			}
		}
		return nil
	}, end, nil
}

// stayOnOneCPU binds this thread, and processes started from it, to the CPU it is on.
func stayOnOneCPU() (restore func(), err error) {
	runtime.LockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("sched_getaffinity: %w", err)
	}
	for cpu := range len(before) * 64 {
		if before.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("sched_setaffinity: %w", err)
	}
	return func() {
		_ = unix.SchedSetaffinity(0, &before)
		runtime.UnlockOSThread()
	}, nil
}

func prepareExec() (func(int) error, func(), error) {
	return func(n int) error {
		for range n {
			if err := self(ExitArg).Run(); err != nil {
				return err
			}
		}
		return nil
	}, nothing, nil
}

// faultBlock is how many pages are touched before they are given back.
const faultBlock = 256

func preparePageFault() (func(int) error, func(), error) {
	page := os.Getpagesize()
	block, err := unix.Mmap(-1, 0, faultBlock*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, nil, err
	}
	_ = unix.Madvise(block, unix.MADV_NOHUGEPAGE) // a kernel without huge pages refuses
	return func(n int) error {
		for n > 0 {
			touch := min(n, faultBlock)
			for i := range touch {
				block[i*page] = 1
			}
			if err := unix.Madvise(block, unix.MADV_DONTNEED); err != nil {
				return err
			}
			n -= touch
		}
		return nil
	}, func() { _ = unix.Munmap(block) }, nil
}

func prepareMap() (func(int) error, func(), error) {
	return func(n int) error {
		for range n {
			b, err := unix.Mmap(-1, 0, 64<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
			if err != nil {
				return err
			}
			if err := unix.Munmap(b); err != nil {
				return err
			}
		}
		return nil
	}, nothing, nil
}
