package footprint

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Memory is the resident memory of a VMM process, in bytes.
type Memory struct {
	// VMM is what the process takes beside guest RAM.
	VMM uint64
	// Private is the part of VMM that no other process has mapped, Dirty what of it the
	// process has written, and PSS is VMM with what others have mapped too shared out among
	// them.
	Private, Dirty, PSS uint64
	// Guest is the guest RAM that has been touched, with the kernel and RAM disk
	// files that are mapped into it.
	Guest uint64
	// Largest are the mappings that take most of VMM, the largest first.
	Largest []Mapping
}

// Mapping is one line of /proc/PID/maps with its resident size in bytes.
type Mapping struct {
	Start, End, RSS uint64
	Private, Dirty  uint64 // of RSS
	anonymous       uint64 // of RSS, in no file, or not any more
	PSS             uint64
	hidden          bool // from children and core files
	Name            string
}

// OfProcess reads /proc/PID/smaps (proc(5)). Guest RAM is the run of
// adjoining mappings whose sizes add up to guestMemory, which must lie below the
// MMIO hole in one piece.
func OfProcess(pid int, guestMemory uint64) (Memory, error) {
	maps, err := readSmaps(pid)
	if err != nil {
		return Memory{}, err
	}
	first, last, ok := findRun(maps, guestMemory)
	if !ok {
		return Memory{}, fmt.Errorf("process %d: no mappings of %d bytes together: is it a VMM of that size?", pid, guestMemory)
	}
	return sum(maps, func(i int) bool { return i >= first && i <= last }), nil
}

// OfGureum is OfProcess of a process of Gureum's, by what it says of its
// mappings: guest RAM is neither inherited by a child nor dumped. So it goes for guests as
// small as a part of the heap.
func OfGureum(pid int) (Memory, error) {
	maps, err := readSmaps(pid)
	if err != nil {
		return Memory{}, err
	}
	return sum(maps, func(i int) bool { return maps[i].hidden }), nil
}

func readSmaps(pid int) ([]Mapping, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseSmaps(f)
}

// sum adds up what is the guest's and what is not.
func sum(maps []Mapping, guest func(i int) bool) Memory {
	var result Memory
	for i, m := range maps {
		if guest(i) {
			result.Guest += m.RSS
			continue
		}
		result.VMM += m.RSS
		result.Private += m.Private
		// The pages of a file in memory, as programs are that are measured, count as
		// dirty though nobody has written to them.
		result.Dirty += min(m.Dirty, m.anonymous)
		result.PSS += m.PSS
		result.Largest = insertLargest(result.Largest, m)
	}
	return result
}

// maxLargest is the length of Memory.Largest.
const maxLargest = 8

func insertLargest(list []Mapping, m Mapping) []Mapping {
	at := len(list)
	for at > 0 && list[at-1].RSS < m.RSS {
		at--
	}
	list = append(list[:at], append([]Mapping{m}, list[at:]...)...)
	return list[:min(len(list), maxLargest)]
}

// findRun finds adjoining mappings whose sizes add up to size.
func findRun(maps []Mapping, size uint64) (first, last int, ok bool) {
	for first := range maps {
		var sum uint64
		for last := first; last < len(maps); last++ {
			if last > first && maps[last].Start != maps[last-1].End {
				break
			}
			sum += maps[last].End - maps[last].Start
			if sum == size {
				return first, last, true
			}
			if sum > size {
				break
			}
		}
	}
	return 0, 0, false
}

// parseSmaps reads the form of /proc/PID/smaps: a line of /proc/PID/maps, then
// lines of "Key: value".
func parseSmaps(r io.Reader) ([]Mapping, error) {
	var maps []Mapping
	scanner := bufio.NewScanner(r)
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		if len(fields) == 0 {
			continue
		}
		if start, end, ok := strings.Cut(fields[0], "-"); ok && !strings.HasSuffix(fields[0], ":") {
			m, err := parseMapping(start, end, fields)
			if err != nil {
				return nil, err
			}
			maps = append(maps, m)
			continue
		}
		if len(fields) < 2 || len(maps) == 0 {
			continue
		}
		m := &maps[len(maps)-1]
		var err error
		switch fields[0] {
		case "Rss:":
			err = addKiB(&m.RSS, fields[1])
		case "Pss:":
			err = addKiB(&m.PSS, fields[1])
		case "Private_Clean:":
			err = addKiB(&m.Private, fields[1])
		case "Private_Dirty:":
			err = errors.Join(addKiB(&m.Private, fields[1]), addKiB(&m.Dirty, fields[1]))
		case "Anonymous:":
			err = addKiB(&m.anonymous, fields[1])
		case "VmFlags:":
			m.hidden = slices.Contains(fields, "dc") && slices.Contains(fields, "dd")
		}
		if err != nil {
			return nil, err
		}
	}
	return maps, scanner.Err()
}

func addKiB(to *uint64, text string) error {
	kib, err := strconv.ParseUint(text, 10, 54)
	*to += kib << 10
	return err
}

func parseMapping(start, end string, fields []string) (Mapping, error) {
	s, err := strconv.ParseUint(start, 16, 64)
	if err != nil {
		return Mapping{}, err
	}
	e, err := strconv.ParseUint(end, 16, 64)
	if err != nil {
		return Mapping{}, err
	}
	m := Mapping{Start: s, End: e}
	if len(fields) > 5 {
		m.Name = strings.Join(fields[5:], " ")
	}
	return m, nil
}
