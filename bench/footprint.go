package bench

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Footprint is the resident memory of a VMM process, in bytes.
type Footprint struct {
	// VMM is what the process takes beside guest RAM.
	VMM uint64
	// Guest is the guest RAM that has been touched, with the kernel and RAM disk
	// files that are mapped into it.
	Guest uint64
	// Largest are the mappings that take most of VMM, the largest first.
	Largest []Mapping
}

// Mapping is one line of /proc/PID/maps with its resident size in bytes.
type Mapping struct {
	Start, End, RSS uint64
	Name            string
}

// MeasureFootprint reads /proc/PID/smaps (proc(5)). Guest RAM is the run of
// adjoining mappings whose sizes add up to guestMemory, which must lie below the
// MMIO hole in one piece.
func MeasureFootprint(pid int, guestMemory uint64) (Footprint, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return Footprint{}, err
	}
	defer f.Close()
	maps, err := parseSmaps(f)
	if err != nil {
		return Footprint{}, err
	}
	first, last, ok := findRun(maps, guestMemory)
	if !ok {
		return Footprint{}, fmt.Errorf("process %d: no mappings of %d bytes together: is it a VMM of that size?", pid, guestMemory)
	}
	var result Footprint
	for i, m := range maps {
		if i >= first && i <= last {
			result.Guest += m.RSS
			continue
		}
		result.VMM += m.RSS
		result.Largest = insertLargest(result.Largest, m)
	}
	return result, nil
}

// maxLargest is the length of Footprint.Largest.
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
		if fields[0] == "Rss:" && len(fields) > 1 && len(maps) > 0 {
			kib, err := strconv.ParseUint(fields[1], 10, 64)
			if err != nil {
				return nil, err
			}
			maps[len(maps)-1].RSS = kib << 10
		}
	}
	return maps, scanner.Err()
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
