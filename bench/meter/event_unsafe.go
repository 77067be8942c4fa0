package meter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// eventNumber is the number by which perf knows a trace event.
func eventNumber(name string) (uint64, error) {
	text, err := os.ReadFile(filepath.Join(tracefs, "events", name, "id"))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNoExits, err)
	}
	return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
}

// openEvent counts a trace event of a thread, and of those that it starts from now on
// (perf_event_open(2)).
func openEvent(number uint64, thread int) (int, error) {
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: number, Bits: unix.PerfBitInherit}
	attr.Size = uint32(unsafe.Sizeof(attr))
	fd, err := unix.PerfEventOpen(&attr, thread, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if errors.Is(err, fs.ErrPermission) {
		return -1, fmt.Errorf("%w: perf_event_open: %w", ErrNoExits, err)
	}
	return fd, err
}

func readEvent(fd int) (uint64, error) {
	var b [8]byte
	n, err := unix.Read(fd, b[:])
	if err == nil && n != len(b) {
		err = fmt.Errorf("%d bytes", n)
	}
	if err != nil {
		return 0, fmt.Errorf("read the counter of exits to user space: %w", err)
	}
	return binary.NativeEndian.Uint64(b[:]), nil
}
