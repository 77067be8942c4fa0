package meter

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestCPU: a process that computes uses its time, and one that is not there is an error.
func TestCPU(t *testing.T) {
	m, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	before, err := m.Read()
	if err != nil {
		t.Fatal(err)
	}
	for n := uint64(1); ; n += n ^ n>>3 {
		if n%1024 != 0 {
			continue
		}
		after, err := m.Read()
		if err != nil {
			t.Fatal(err)
		}
		if used := after.Sub(before); used.CPU > time.Millisecond {
			break
		}
	}
	// Numbers of processes are smaller (proc_sys_kernel(5), pid_max).
	if _, err := CPU(1 << 22); err == nil {
		t.Error("a process that is not there has a CPU time")
	}
}

func TestMachineFolder(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"12-3", "99-7", "x"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := machineFolder(dir, []int{98, 99}); err != nil || filepath.Base(got) != "99-7" {
		t.Errorf("%q, %v", got, err)
	}
	for _, where := range []string{dir, filepath.Join(dir, "no")} {
		if got, err := machineFolder(where, []int{1, 2}); !errors.Is(err, ErrNoExits) {
			t.Errorf("%q, %v", got, err)
		}
	}
}

func TestSub(t *testing.T) {
	got := Reading{CPU: 5, Exits: 7, UserExits: 9}.Sub(Reading{CPU: 1, Exits: 2, UserExits: 3})
	if want := (Reading{CPU: 4, Exits: 5, UserExits: 6}); got != want {
		t.Errorf("%+v", got)
	}
}
