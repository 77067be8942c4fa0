package jail

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupParent is the group that holds those of all machines.
const cgroupParent = "gureum"

// Cgroup is a machine's control group: one folder with cgroup v2, one for each controller
// with v1.
type Cgroup struct {
	ID string
	// Mount is where cgroups are; "" is /sys/fs/cgroup.
	Mount string
}

// CgroupLimits are what a machine may use of the host. Zero is no limit.
type CgroupLimits struct {
	CPU    float64 // CPUs; 0.5 is half of one
	Memory uint64  // bytes, of guest and process together
	Pids   int     // threads
	Disks  []IOLimit
}

// IOLimit is for one block device, as "8:0". Zero is no limit.
type IOLimit struct {
	Device              string
	ReadBPS, WriteBPS   uint64 // bytes a second
	ReadIOPS, WriteIOPS uint64 // operations a second
}

// Usage is what a group has used.
type Usage struct {
	CPU    time.Duration
	Memory uint64 // bytes, now
	Pids   int    // now
}

// cpuPeriod is the time in which a group's CPU time is counted, in microseconds.
const cpuPeriod = 100000

func (g Cgroup) mount() string {
	if g.Mount != "" {
		return g.Mount
	}
	return "/sys/fs/cgroup"
}

func (g Cgroup) v2() bool {
	_, err := os.Stat(filepath.Join(g.mount(), "cgroup.controllers"))
	return err == nil
}

// dir is the group's folder for a controller.
func (g Cgroup) dir(controller string) string {
	if g.v2() {
		return filepath.Join(g.mount(), cgroupParent, g.ID)
	}
	return filepath.Join(g.mount(), controller, cgroupParent, g.ID)
}

var controllers = [...]string{"cpu", "memory", "pids", "io"}

// dirs are the group's folders.
func (g Cgroup) dirs() []string {
	if g.v2() {
		return []string{g.dir("")}
	}
	var out []string
	for _, c := range []string{"cpu", "cpuacct", "memory", "pids", "blkio"} {
		if _, err := os.Stat(filepath.Join(g.mount(), c)); err == nil {
			out = append(out, g.dir(c))
		}
	}
	return out
}

// Create makes the group, or takes the one that is there, and sets its limits. A limit
// that this host has no controller for is an error.
func (g Cgroup) Create(l CgroupLimits) error {
	if g.v2() {
		parent := filepath.Join(g.mount(), cgroupParent)
		g.enable(g.mount())
		if err := os.MkdirAll(parent, 0o755); err != nil {
			return err
		}
		g.enable(parent)
	}
	dirs := g.dirs()
	if len(dirs) == 0 {
		return fmt.Errorf("%s: no control groups are mounted", g.mount())
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return errors.Join(err, g.Remove())
		}
	}
	if err := g.Set(l); err != nil {
		return errors.Join(err, g.Remove())
	}
	return nil
}

// enable hands controllers down, each by itself: what the host lacks is missed when a
// limit needs it.
func (g Cgroup) enable(dir string) {
	for _, c := range controllers {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0)
	}
}

type setting struct{ controller, file, value string }

// Set sets the limits anew.
func (g Cgroup) Set(l CgroupLimits) error {
	settings := g.settingsV1(l)
	if g.v2() {
		settings = g.settingsV2(l)
	}
	for _, s := range settings {
		path := filepath.Join(g.dir(s.controller), s.file)
		err := writeFile(path, s.value)
		if errors.Is(err, fs.ErrNotExist) && (s.value == "max" || s.value == "-1" || strings.HasPrefix(s.value, "max ")) {
			continue // no limit is wanted, and none can be set
		}
		if err != nil {
			return fmt.Errorf("limit a machine to %s by %s: %w", s.value, path, err)
		}
	}
	return nil
}

// writeFile never makes a file: a control group's are all there.
func writeFile(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

func orMax[T uint64 | int](n T, none string) string {
	if n == 0 {
		return none
	}
	return fmt.Sprint(n)
}

func (g Cgroup) settingsV2(l CgroupLimits) []setting {
	cpu := "max " + strconv.Itoa(cpuPeriod)
	if l.CPU > 0 {
		cpu = fmt.Sprintf("%d %d", max(1000, int64(l.CPU*cpuPeriod)), cpuPeriod)
	}
	out := []setting{
		{"", "cpu.max", cpu},
		{"", "memory.max", orMax(l.Memory, "max")},
		{"", "pids.max", orMax(l.Pids, "max")},
	}
	for _, d := range l.Disks {
		out = append(out, setting{"", "io.max", fmt.Sprintf("%s rbps=%s wbps=%s riops=%s wiops=%s", d.Device,
			orMax(d.ReadBPS, "max"), orMax(d.WriteBPS, "max"), orMax(d.ReadIOPS, "max"), orMax(d.WriteIOPS, "max"))})
	}
	return out
}

func (g Cgroup) settingsV1(l CgroupLimits) []setting {
	cpu := "-1"
	if l.CPU > 0 {
		cpu = strconv.FormatInt(max(1000, int64(l.CPU*cpuPeriod)), 10)
	}
	out := []setting{
		{"cpu", "cpu.cfs_period_us", strconv.Itoa(cpuPeriod)},
		{"cpu", "cpu.cfs_quota_us", cpu},
		{"memory", "memory.limit_in_bytes", orMax(l.Memory, "-1")},
		{"pids", "pids.max", orMax(l.Pids, "max")},
	}
	for _, d := range l.Disks {
		for file, n := range map[string]uint64{
			"blkio.throttle.read_bps_device": d.ReadBPS, "blkio.throttle.write_bps_device": d.WriteBPS,
			"blkio.throttle.read_iops_device": d.ReadIOPS, "blkio.throttle.write_iops_device": d.WriteIOPS,
		} {
			out = append(out, setting{"blkio", file, fmt.Sprintf("%s %d", d.Device, n)})
		}
	}
	return out
}

// Open opens the group for SysProcAttr.CgroupFD, so that a process begins in it. With v1
// it is nil, as there is no such way: Add comes first for the process that starts it.
func (g Cgroup) Open() (*os.File, error) {
	if !g.v2() {
		return nil, nil
	}
	return os.OpenFile(g.dir(""), unix.O_PATH|unix.O_DIRECTORY, 0)
}

// Add moves a process into the group; 0 is the caller's own.
func (g Cgroup) Add(pid int) error {
	for _, dir := range g.dirs() {
		if err := writeFile(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
			return err
		}
	}
	return nil
}

// Usage tells what the group has used. What the host does not count is 0.
func (g Cgroup) Usage() (Usage, error) {
	if _, err := os.Stat(g.dir("memory")); err != nil {
		return Usage{}, err
	}
	var u Usage
	if g.v2() {
		text, _ := os.ReadFile(filepath.Join(g.dir(""), "cpu.stat"))
		for line := range bytes.Lines(text) {
			if rest, is := bytes.CutPrefix(line, []byte("usage_usec ")); is {
				u.CPU = time.Duration(parse(rest)) * time.Microsecond
			}
		}
		u.Memory = g.number("memory", "memory.current")
	} else {
		u.CPU = time.Duration(g.number("cpuacct", "cpuacct.usage"))
		u.Memory = g.number("memory", "memory.usage_in_bytes")
	}
	u.Pids = int(g.number("pids", "pids.current"))
	return u, nil
}

func (g Cgroup) number(controller, file string) uint64 {
	text, _ := os.ReadFile(filepath.Join(g.dir(controller), file))
	return parse(text)
}

func parse(text []byte) uint64 {
	n, _ := strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 64)
	return n
}

// removePatience is how long a group may take to lose processes that were killed.
const removePatience = 2 * time.Second

// Remove removes the group. One that is not there is fine; one with a process is not.
func (g Cgroup) Remove() error {
	var errs []error
	for _, dir := range g.dirs() {
		end := time.Now().Add(removePatience)
		err := unix.Rmdir(dir)
		for errors.Is(err, unix.EBUSY) && time.Now().Before(end) {
			time.Sleep(5 * time.Millisecond)
			err = unix.Rmdir(dir)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("remove control group %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

// Exists tells whether the group is there.
func (g Cgroup) Exists() bool {
	_, err := os.Stat(g.dir("memory"))
	return err == nil
}

// OutOfMemory tells whether the kernel killed a process of the group because the group was
// at its memory limit.
func (g Cgroup) OutOfMemory() bool {
	file := "memory.oom_control" // v1, since Linux 4.13
	if g.v2() {
		file = "memory.events"
	}
	text, _ := os.ReadFile(filepath.Join(g.dir("memory"), file))
	for line := range bytes.Lines(text) {
		if count, is := bytes.CutPrefix(line, []byte("oom_kill ")); is {
			return parse(count) > 0
		}
	}
	return false
}

// HaveCgroups tells whether this host has control groups that a machine can be put into.
func HaveCgroups() bool { return len(Cgroup{}.dirs()) > 0 }

// EmptyCgroups are the ids of all groups of machines without a process.
func EmptyCgroups() ([]string, error) {
	parent := filepath.Dir(Cgroup{ID: "any"}.dir("memory"))
	entries, err := os.ReadDir(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var ids []string
	for _, e := range entries {
		procs, err := os.ReadFile(filepath.Join(parent, e.Name(), "cgroup.procs"))
		if err == nil && len(procs) == 0 {
			ids = append(ids, e.Name())
		}
	}
	return ids, err
}
