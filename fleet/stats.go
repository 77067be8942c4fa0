package fleet

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gureum/gureum/fleet/api"
	"github.com/gureum/gureum/fleet/state"
)

// Sample is what a machine used since it was started, and what it has now.
type Sample struct {
	ID   string    `json:"id"`
	Name string    `json:"name"`
	Time time.Time `json:"time"`
	// CPU is the time of all its threads in nanoseconds.
	CPU uint64 `json:"cpu_ns"`
	// CPUPercent is of one CPU, over the time since the sample before; absent in the first.
	CPUPercent *float64 `json:"cpu_percent,omitempty"`
	// Guest is how much memory of the host the guest's takes up, VMM what the process
	// takes up beside it, Memory the guest's size; in bytes.
	Guest  uint64 `json:"guest_rss_bytes"`
	VMM    uint64 `json:"vmm_rss_bytes"`
	Memory uint64 `json:"memory_bytes"`
	// Balloon is what the guest gave back.
	Balloon uint64 `json:"balloon_bytes"`
	// Bytes and requests of all disks, as the guest reads and writes.
	DiskRead    uint64 `json:"disk_read_bytes"`
	DiskWritten uint64 `json:"disk_written_bytes"`
	// Bytes of all interfaces, as the guest receives and sends. Where the host's kernel moves
	// the frames they are those of its interface, whose headers count.
	NetIn  uint64 `json:"net_received_bytes"`
	NetOut uint64 `json:"net_sent_bytes"`
	// Exits are those of the virtual CPUs to the process.
	Exits uint64 `json:"exits"`
	// Error tells why there is nothing else of a machine that runs.
	Error string `json:"error,omitempty"`
}

// statsPatience is how long a process may take to tell its counters.
const statsPatience = 2 * time.Second

// Stats takes a sample of each machine, at the same time.
func (f *Fleet) Stats(ctx context.Context, machines []*Machine) []Sample {
	ctx, cancel := context.WithTimeout(ctx, statsPatience)
	defer cancel()
	out := make([]Sample, len(machines))
	var work sync.WaitGroup
	for i, m := range machines {
		work.Go(func() { out[i] = f.sample(ctx, m) })
	}
	work.Wait()
	return out
}

func (f *Fleet) sample(ctx context.Context, m *Machine) Sample {
	s := Sample{ID: m.ID, Name: m.Name, Time: time.Now()}
	// Before the process is asked anything, as it takes some to answer.
	pid, memoryErr := f.PID(m.ID)
	if memoryErr == nil {
		s.Guest, s.VMM, memoryErr = memoryOf(pid)
	}
	st, err := f.Client(m.ID).Stats(ctx)
	if err != nil {
		return Sample{ID: s.ID, Name: s.Name, Time: s.Time, Error: m.failed(err).Error()}
	}
	s.Time = time.Now() // the process's clock is not asked for
	s.add(st, countTaps(m.VM))
	if memoryErr != nil {
		s.Error = fmt.Sprintf("%s: its memory: %v", m.Name, memoryErr)
	}
	return s
}

// traffic is what an interface of the host counts, in bytes.
type traffic struct{ received, sent uint64 }

// countTaps gives the counters of a machine's interfaces on the host, by the name of the
// guest's device. vhost moves frames past the machine's process, which cannot count them.
// Those that have none, as on a network in user space, are left out.
func countTaps(record *state.VM) map[string]traffic {
	counts := map[string]traffic{}
	for _, port := range record.Ports {
		base := filepath.Join("/sys/class/net", port.Tap, "statistics")
		received, err := readCount(filepath.Join(base, "rx_bytes"))
		if err != nil {
			continue
		}
		sent, err := readCount(filepath.Join(base, "tx_bytes"))
		if err != nil {
			continue
		}
		counts[fmt.Sprintf("net%d", port.NIC)] = traffic{received, sent}
	}
	return counts
}

func readCount(path string) (uint64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
}

func (s *Sample) add(st *api.Stats, taps map[string]traffic) {
	s.CPU, s.Memory, s.Balloon = st.CPU, st.Memory.Size, st.Memory.BalloonActual
	for _, d := range st.Blocks {
		s.DiskRead += d.ReadBytes
		s.DiskWritten += d.WriteBytes
	}
	for _, q := range st.Devices {
		if _, counted := taps[q.Device]; !counted && strings.HasPrefix(q.Device, "net") {
			s.NetIn += q.BytesIn
			s.NetOut += q.BytesOut
		}
	}
	for _, t := range taps {
		s.NetIn += t.sent
		s.NetOut += t.received
	}
	for _, n := range st.Exits {
		s.Exits += n
	}
}

// Since works out the share of a CPU since the sample before. A machine that was started
// again since then has none.
func (s *Sample) Since(before *Sample) {
	passed := s.Time.Sub(before.Time)
	if before.Error != "" || s.Error != "" || passed <= 0 || s.CPU < before.CPU {
		return
	}
	percent := float64(s.CPU-before.CPU) / float64(passed.Nanoseconds()) * 100
	s.CPUPercent = &percent
}

// memoryOf tells how much memory a machine's guest takes up, and how much its process
// does beside that, in bytes.
func memoryOf(pid int) (guest, vmm uint64, err error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return 0, 0, err
	}
	defer file.Close()
	return splitMemory(file)
}

// splitMemory reads /proc/PID/smaps (proc_pid_smaps(5)). Guest memory is what is neither
// inherited by a child nor dumped (MADV_DONTFORK, MADV_DONTDUMP: flags dc and dd): package
// guest/memory maps it so, and nothing else of that size is.
func splitMemory(r io.Reader) (guest, vmm uint64, err error) {
	var resident, huge uint64
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		key, rest, _ := bytes.Cut(lines.Bytes(), []byte(" "))
		switch string(key) {
		case "Rss:":
			resident = kilobytes(rest)
		case "Private_Hugetlb:", "Shared_Hugetlb:":
			huge += kilobytes(rest)
		case "VmFlags:":
			flags := " " + string(rest) + " "
			if strings.Contains(flags, " dc ") && strings.Contains(flags, " dd ") {
				guest += resident + huge
			} else {
				vmm += resident + huge
			}
			resident, huge = 0, 0
		}
	}
	return guest, vmm, lines.Err()
}

func kilobytes(text []byte) uint64 {
	n, _ := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(string(text)), " kB"), 10, 54)
	return n << 10
}
