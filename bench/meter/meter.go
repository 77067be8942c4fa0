// Package meter reads from outside what virtual machines take of their host, whatever VMM
// runs them: CPU time, and how often their virtual CPUs left the guest. A difference of two
// readings is the cost of what happened between them. Reading disturbs nothing: the counters
// are kept by the kernel in any case, but for the one of exits to user space, which costs a
// few instructions at each of these.
package meter

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Reading is what some processes have taken since they began. Exits are counted from when
// the meter was opened on.
type Reading struct {
	// CPU is user and system time of all their threads, guests included, and of the threads
	// that the kernel runs for them (vhost).
	CPU time.Duration
	// Exits are those of virtual CPUs out of the guest, UserExits those that went on to the VMM.
	Exits, UserExits uint64
}

// Sub is what happened since an earlier reading.
func (r Reading) Sub(before Reading) Reading {
	return Reading{CPU: r.CPU - before.CPU, Exits: r.Exits - before.Exits, UserExits: r.UserExits - before.UserExits}
}

// Meter reads of some processes.
type Meter struct {
	processes []int
	exits     []string // files
	events    []int    // descriptors of counters
}

// ErrNoExits is for a host that does not tell exits, or not to this user.
var ErrNoExits = errors.New("the exits of guests are not told: be root, with debugfs on " + debugfs + " and tracefs on " + tracefs)

// Where they are mounted on all distributions.
const (
	debugfs = "/sys/kernel/debug"
	tracefs = "/sys/kernel/tracing"
)

// CPU opens a meter that tells CPU time alone.
func CPU(processes ...int) (*Meter, error) {
	m := &Meter{processes: slices.Clone(processes)}
	for _, pid := range processes {
		m.processes = append(m.processes, helpers(pid)...)
	}
	_, err := m.Read() // whether they are there
	return m, err
}

// Open opens a meter that tells exits, too. All processes must have made their machine and
// their virtual CPUs. An ErrNoExits says that there is CPU alone.
func Open(processes ...int) (*Meter, error) {
	m, err := CPU(processes...)
	if err != nil {
		return nil, err
	}
	for _, pid := range processes {
		if err := m.addExits(pid); err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	return m, nil
}

// Read reads.
func (m *Meter) Read() (Reading, error) {
	var r Reading
	for _, pid := range m.processes {
		used, err := processTime(pid)
		if err != nil {
			return r, err
		}
		r.CPU += used
	}
	for _, file := range m.exits {
		text, err := os.ReadFile(file)
		if err != nil {
			return r, err
		}
		n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			return r, fmt.Errorf("%s: %w", file, err)
		}
		r.Exits += n
	}
	for _, fd := range m.events {
		n, err := readEvent(fd)
		if err != nil {
			return r, err
		}
		r.UserExits += n
	}
	return r, nil
}

// Close ends it.
func (m *Meter) Close() error {
	var errs []error
	for _, fd := range m.events {
		errs = append(errs, unix.Close(fd))
	}
	m.events = nil
	return errors.Join(errs...)
}

// cpuClock is the kind of a process's clock that counts time as the scheduler does, in
// nanoseconds (clock_getcpuclockid(3); the kernel's include/linux/posix-timers.h).
const cpuClock = 2

// processTime is what all threads of a process have used, those that have ended included.
func processTime(pid int) (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|cpuClock, &t); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// helpers are the kernel's own threads that move frames for a process: vhost names them for
// their owner. From Linux 6.4 on they are threads of that process, and there are none.
func helpers(pid int) []int {
	var found []int
	names, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil || strings.TrimSpace(string(text)) != fmt.Sprintf("vhost-%d", pid) {
			continue
		}
		if helper, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
			found = append(found, helper)
		}
	}
	return found
}

// addExits finds the counters of a process's machine.
func (m *Meter) addExits(pid int) error {
	threads, err := threadsOf(pid)
	if err != nil {
		return err
	}
	folder, err := machineFolder(debugfs+"/kvm", threads)
	if err != nil {
		return err
	}
	m.exits = append(m.exits, filepath.Join(folder, "exits"))
	event, err := eventNumber("kvm/kvm_userspace_exit")
	if err != nil {
		return err
	}
	for _, thread := range threads {
		fd, err := openEvent(event, thread)
		if errors.Is(err, unix.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			return err
		}
		m.events = append(m.events, fd)
	}
	return nil
}

func threadsOf(pid int) ([]int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, err
	}
	var threads []int
	for _, e := range entries {
		thread, err := strconv.Atoi(e.Name())
		if err != nil {
			return nil, err
		}
		threads = append(threads, thread)
	}
	return threads, nil
}

// machineFolder is where KVM tells of a machine that one of some threads has made:
// THREAD-DESCRIPTOR (virt/kvm/kvm_main.c, kvm_create_vm_debugfs).
func machineFolder(kvm string, threads []int) (string, error) {
	entries, err := os.ReadDir(kvm)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return "", fmt.Errorf("%w: %w", ErrNoExits, err)
	}
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		thread, _, _ := strings.Cut(e.Name(), "-")
		if n, err := strconv.Atoi(thread); err == nil && e.IsDir() && slices.Contains(threads, n) {
			return filepath.Join(kvm, e.Name()), nil
		}
	}
	return "", fmt.Errorf("%w: %s has no folder of the machine", ErrNoExits, kvm)
}
