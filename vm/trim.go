package vm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

// trimDelay is how long after its start a machine gives back what making it took.
// Machines that live for a moment spare themselves that.
const trimDelay = time.Second

// trim gives back to the host what was needed to make the machine and is not needed
// to run it: free parts of the heap, and those pages of the program that were used
// for the start. What turns out to be needed comes back from the page cache.
func trim() {
	if err := trimProcess(); err != nil {
		slog.Debug("give back memory after the start", "error", err)
	}
}

func trimProcess() error {
	// First, as it reads much of the program.
	debug.FreeOSMemory()
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer maps.Close()
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	var errs []error
	for m, err := range mappings(maps) {
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		if m.path == program && !m.writable {
			errs = append(errs, dropPages(m))
		}
	}
	return errors.Join(errs...)
}

// mapping is a line of /proc/PID/maps (proc_pid_maps(5)).
type mapping struct {
	start, end uint64
	writable   bool
	path       string
}

// mappings reads /proc/PID/maps. An error is the last thing it gives.
func mappings(r io.Reader) func(yield func(mapping, error) bool) {
	return func(yield func(mapping, error) bool) {
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			m, err := parseMapping(lines.Text())
			if !yield(m, err) || err != nil {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(mapping{}, err)
		}
	}
}

// parseMapping reads a line such as
//
//	00400000-007f1000 r-xp 00000000 08:02 173521   /usr/bin/gureum
func parseMapping(line string) (mapping, error) {
	fields := strings.Fields(line)
	if len(fields) < 5 {
		return mapping{}, fmt.Errorf("memory map: %q: too few words", line)
	}
	var m mapping
	if _, err := fmt.Sscanf(fields[0], "%x-%x", &m.start, &m.end); err != nil || m.end < m.start {
		return mapping{}, fmt.Errorf("memory map: %q: no addresses", line)
	}
	m.writable = strings.Contains(fields[1], "w")
	// A path can have spaces; everything before it cannot.
	if i := strings.IndexByte(line, '/'); i >= 0 {
		m.path = line[i:]
	}
	return m, nil
}
