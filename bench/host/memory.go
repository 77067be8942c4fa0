package host

import (
	"errors"
	"os"
	"strconv"
	"strings"
)

// Available is how much memory programs can still get without swapping, in bytes: the
// kernel's estimate (proc_meminfo(5), MemAvailable).
func (r Root) Available() (uint64, error) {
	text, err := os.ReadFile(r.path("proc/meminfo"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemAvailable:" {
			n, err := strconv.ParseUint(f[1], 10, 54)
			return n << 10, err
		}
	}
	return 0, errors.New("/proc/meminfo has no MemAvailable")
}
