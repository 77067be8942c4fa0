package memory

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// vma is what the host knows of one range of our address space.
type vma struct {
	start, end uint64
	perms      string
	rssKiB     int
	flags      string
}

// maps reads /proc/self/smaps: the host's word on what is mapped and resident.
func maps(t *testing.T) []vma {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []vma
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		line := sc.Text()
		key, value, _ := strings.Cut(line, ":")
		switch {
		case key == "Rss":
			out[len(out)-1].rssKiB, _ = strconv.Atoi(strings.Fields(value)[0])
		case key == "VmFlags":
			out[len(out)-1].flags = value
		case strings.Contains(strings.Fields(line)[0], "-"):
			var v vma
			if _, err := fmt.Sscanf(line, "%x-%x %s", &v.start, &v.end, &v.perms); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			out = append(out, v)
		}
	}
	return out
}

// at finds the range that holds addr.
func at(t *testing.T, all []vma, addr uint64) vma {
	t.Helper()
	for _, v := range all {
		if addr >= v.start && addr < v.end {
			return v
		}
	}
	t.Fatalf("nothing mapped at %#x", addr)
	return vma{}
}

// TestReservedNotTouched makes a machine of 1 TiB: no page of it is resident,
// guards lie round each region, and a write costs the pages it touches.
func TestReservedNotTouched(t *testing.T) {
	m := newMemory(t, Config{Size: 1 << 40})
	all := maps(t)
	for _, r := range m.Regions() {
		host := uint64(r.Host)
		ram := at(t, all, host)
		if ram.start != host || ram.end != host+r.Size || ram.perms != "rw-p" {
			t.Errorf("region %#x: mapped %#x-%#x %s, want %#x-%#x", r.GPA, ram.start, ram.end, ram.perms, host, host+r.Size)
		}
		if ram.rssKiB != 0 {
			t.Errorf("region %#x: %d KiB resident before any access", r.GPA, ram.rssKiB)
		}
		for _, flag := range []string{"dc", "dd", "nr"} { // no fork, no dump, no reserve
			if !strings.Contains(ram.flags, " "+flag) {
				t.Errorf("region %#x: flag %s is missing in %q", r.GPA, flag, ram.flags)
			}
		}
		for _, guard := range []uint64{host - 1, host + r.Size, host - guardBytes, host + r.Size + guardBytes - 1} {
			if g := at(t, all, guard); g.perms != "---p" {
				t.Errorf("region %#x: %#x is %s, not a guard", r.GPA, guard, g.perms)
			}
		}
	}
	if err := m.WriteAt([]byte{1}, 512<<30); err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if err := m.ReadAt(b[:], 512<<30); err != nil || b[0] != 1 {
		t.Errorf("byte %d, %v", b[0], err)
	}
	rss := at(t, maps(t), uint64(m.Regions()[1].Host)).rssKiB
	if rss == 0 || rss > 2048 { // at most one transparent huge page
		t.Errorf("%d KiB resident after one write", rss)
	}
}

func TestCloseUnmaps(t *testing.T) {
	before := len(maps(t))
	for range 50 {
		m, err := New(Config{Size: 8 << 30})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if after := len(maps(t)); after > before+20 {
		t.Errorf("%d ranges mapped, %d before", after, before)
	}
}

func TestTHP(t *testing.T) {
	m := newMemory(t, Config{Size: 64 << 20, THP: true})
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		return // the host has none; New must work all the same
	}
	if v := at(t, maps(t), uint64(m.Regions()[0].Host)); !strings.Contains(v.flags, " hg") {
		t.Errorf("flags %q: no huge page advice", v.flags)
	}
}

// TestHugePages works on hosts with and without free huge pages.
func TestHugePages(t *testing.T) {
	for _, tt := range []struct {
		page PageSize
		size uint64
		dir  string
	}{
		{Page2M, 64 << 20, "hugepages-2048kB"},
		{Page1G, 1 << 30, "hugepages-1048576kB"},
	} {
		text, _ := os.ReadFile("/sys/kernel/mm/hugepages/" + tt.dir + "/free_hugepages")
		free, _ := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		m, err := New(Config{Size: tt.size, HugePages: tt.page})
		if free < tt.size/uint64(tt.page) {
			if err == nil || !strings.Contains(err.Error(), "reserve with") {
				t.Errorf("%d-byte pages, %d free: %v", tt.page, free, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := m.WriteU64(tt.size-8, 42); err != nil {
			t.Error(err)
		}
		if host := m.Regions()[0].Host; uint64(host)%uint64(tt.page) != 0 {
			t.Errorf("host address %#x is not aligned to %d", host, tt.page)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}
