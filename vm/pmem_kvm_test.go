package vm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestKVMPMEM(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("/usr/sbin/mke2fs", "-q", "-t", "ext4", "-b", "4096", path).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	g := startLinux(t, Config{PMEM: []PMEM{{Path: path}}})
	g.sh("mount -t ext4 -o dax /dev/pmem0 /mnt && grep -q dax /proc/mounts")
	sum := g.sh("dd if=/dev/urandom of=/mnt/f bs=1M count=30 2>/dev/null; sync; md5sum < /mnt/f; umount /mnt")
	if n := g.Counters(); n[1].Name != "pmem0" || n[1].Queues[0].Chains == 0 {
		t.Errorf("no flush came: %+v", n)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("/usr/sbin/e2fsck", "-fn", path).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for range 2 {
		r := startLinux(t, Config{PMEM: []PMEM{{Path: path, ReadOnly: true}}})
		if got := r.sh("mount -t ext4 -o ro,dax /dev/pmem0 /mnt; md5sum < /mnt/f"); got != sum {
			t.Errorf("sum %s, want %s", got, sum)
		}
	}
	// Both have read the file, and it is in memory once.
	rss, pss := residentOf(t, path)
	t.Logf("two guests: %d KiB of the file mapped, %d KiB of memory taken", rss, pss)
	if rss < 2*30<<10 || pss > rss*6/10 {
		t.Errorf("%d KiB mapped take %d KiB of memory", rss, pss)
	}
	if _, err := New(Config{PMEM: []PMEM{{Path: path}}}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a file that others have is mapped for writing: %v", err)
	}
}

// residentOf adds up what this process has mapped of a file: pages that are there, and
// their memory, of which each mapping has its share (proc_pid_smaps(5)); in KiB.
func residentOf(t *testing.T, path string) (rss, pss int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	ours := false
	for line := range strings.Lines(string(maps)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok || strings.Contains(key, "-") { // a mapping's own line
			ours = strings.HasSuffix(strings.TrimSpace(line), path)
			continue
		}
		var n int
		if _, err := fmt.Sscanf(value, "%d kB", &n); err != nil || !ours {
			continue
		}
		switch key {
		case "Rss":
			rss += n
		case "Pss":
			pss += n
		}
	}
	return rss, pss
}
