package vm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// trimDelay is how long after its start a machine gives back what making it took.
// Machines that live for a moment spare themselves that.
const trimDelay = time.Second

// Trim gives back to the host what this process took for a while and does not need now:
// see trim, which every machine does once by itself, a second after its start. It is for
// processes that live long after more than that.
func (m *Machine) Trim() { trim(io.NewSectionReader(m.maps, 0, maxMaps)) }

// maxMaps is more than any /proc/self/maps has, in bytes.
const maxMaps = 1 << 30

// trim gives back to the host what was needed to make the machine and is not needed
// to run it: free parts of the heap, and those pages of the program that were used
// for the start. What turns out to be needed comes back from the page cache. maps is
// /proc/self/maps, opened beforehand, as a jailed process has no such file.
func trim(maps io.Reader) {
	if err := trimProcess(maps); err != nil {
		slog.Debug("give back memory after the start", "error", err)
	}
}

func trimProcess(maps io.Reader) error {
	// First, as it reads much of the program.
	debug.FreeOSMemory()
	all, err := readMappings(maps)
	if err != nil {
		return err
	}
	program := fileAt(all, codeAddress())
	if program == "" {
		return errors.New("memory map: the program is not in it")
	}
	var errs []error
	for _, m := range all {
		if m.file == program && !m.writable {
			errs = append(errs, dropPages(m))
		}
	}
	return errors.Join(errs...)
}

// codeAddress is an address in the program.
func codeAddress() uint64 {
	pc, _, _, _ := runtime.Caller(0)
	return uint64(pc)
}

// fileAt is the file that is mapped at an address; "" for none. The file's name would not
// do: what it is depends on which part of the host's files the process sees.
func fileAt(all []mapping, address uint64) string {
	for _, m := range all {
		if address >= m.start && address < m.end {
			return m.file
		}
	}
	return ""
}

// mapping is a line of /proc/PID/maps (proc_pid_maps(5)).
type mapping struct {
	start, end uint64
	writable   bool
	file       string // device and inode; "" for none
}

func readMappings(r io.Reader) ([]mapping, error) {
	var all []mapping
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		m, err := parseMapping(lines.Text())
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, lines.Err()
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
	if fields[4] != "0" {
		m.file = fields[3] + " " + fields[4]
	}
	return m, nil
}
