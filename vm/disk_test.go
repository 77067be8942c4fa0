package vm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gureum/gureum/guest/disk"
)

// newDiskFile makes a sparse image.
func newDiskFile(t *testing.T, dir, name string, size int64) string {
	t.Helper()
	path := filepath.Join(dir, name)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDiskConfig(t *testing.T) {
	path := newDiskFile(t, t.TempDir(), "d.raw", 1<<20)
	for _, c := range []struct {
		name  string
		disks []Disk
		want  string // in the error; "" for none
	}{
		{"defaults", []Disk{{Path: path}, {Path: path}}, ""},
		{"all", []Disk{{Path: path, ReadOnly: true, Cache: CacheNone, ID: "x", Queues: 64, BlockSize: 4096, Format: disk.Raw}}, ""},
		{"no path", []Disk{{}}, "no path"},
		{"missing", []Disk{{Path: path + "x"}}, "no such file"},
		{"directory", []Disk{{Path: filepath.Dir(path)}}, "is a directory"},
		{"character device", []Disk{{Path: "/dev/null"}}, "not a file or block device"},
		{"cache", []Disk{{Path: path, Cache: "unsafe"}}, "give writeback or none"},
		{"format", []Disk{{Path: path, Format: "vmdk"}}, "give raw or qcow2"},
		{"queues", []Disk{{Path: path, Queues: 65}}, "give 1 to 64"},
		{"block size", []Disk{{Path: path, BlockSize: 1000}}, "power of two"},
		{"id", []Disk{{Path: path, ID: strings.Repeat("i", 21)}}, "at most 20"},
		{"same id", []Disk{{Path: path, ID: "a"}, {Path: path, ID: "a"}}, "the same id"},
		{"too many", make([]Disk, maxDisks+1), "at most"},
	} {
		config := Config{CPUs: 8, Disks: c.disks}
		err := config.Validate()
		var input *InputError
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (!errors.As(err, &input) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	config := Config{CPUs: 8, Disks: []Disk{{Path: path}, {Path: path}}}
	if err := config.Validate(); err != nil {
		t.Fatal(err)
	}
	if d := config.Disks[1]; d.ID != "disk1" || d.Queues != maxAutoQueues || d.Cache != CacheWriteback {
		t.Errorf("defaults: %+v", d)
	}
}

// TestDisksAreOpenedBeforeKVM wants what is wrong with an image to be said whatever
// the host is, and nothing to be left open.
func TestDisksAreOpenedBeforeKVM(t *testing.T) {
	dir := t.TempDir()
	good := newDiskFile(t, dir, "good.raw", 1<<20)
	if err := os.WriteFile(filepath.Join(dir, "bad.qcow2"), make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		disks []Disk
		want  string
	}{
		{[]Disk{{Path: good}, {Path: filepath.Join(dir, "bad.qcow2")}}, "qcow2"},
		{[]Disk{{Path: good}, {Path: good}}, "in use"},
		{[]Disk{{Path: good, BlockSize: 512}, {Path: good, ReadOnly: true}}, "in use"},
	} {
		_, err := New(Config{KVM: filepath.Join(dir, "none"), Disks: c.disks})
		var input *InputError
		if !errors.As(err, &input) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	d, err := disk.Open(good, disk.Options{})
	if err != nil {
		t.Fatalf("the lock of a machine that was not made: %v", err)
	}
	_ = d.Close()
}
