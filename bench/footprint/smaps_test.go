package footprint

import (
	"os"
	"strings"
	"testing"
)

const smaps = `00400000-00500000 r-xp 00000000 fe:00 12 /usr/bin/vmm
Size:               1024 kB
Rss:                 600 kB
Pss:                 300 kB
Private_Clean:       100 kB
Private_Dirty:        50 kB
Anonymous:            40 kB
VmFlags: rd ex
7f0000000000-7f0000001000 ---p 00000000 00:00 0
Size:                  4 kB
Rss:                   0 kB
7f0000001000-7f0000101000 rw-p 00000000 00:00 0
Rss:                 100 kB
7f0000101000-7f0000201000 rw-p 00100000 fe:00 77 /cache/vmlinux
Rss:                 200 kB
7f0000201000-7f0000202000 ---p 00000000 00:00 0
Rss:                   0 kB
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0 [stack]
Rss:                  12 kB
`

func TestFindRunAndParse(t *testing.T) {
	maps, err := parseSmaps(strings.NewReader(smaps))
	if err != nil {
		t.Fatal(err)
	}
	if len(maps) != 6 || maps[0].Name != "/usr/bin/vmm" || maps[0].RSS != 600<<10 || maps[0].PSS != 300<<10 || maps[0].Private != 150<<10 || maps[0].Dirty != 50<<10 {
		t.Fatalf("maps: %+v", maps)
	}
	if m := sum(maps, func(i int) bool { return i == 2 || i == 3 }); m.Dirty != 40<<10 || m.Private != 150<<10 || m.Guest != 300<<10 || m.VMM != 612<<10 {
		t.Errorf("%+v", m)
	}
	first, last, ok := findRun(maps, 2<<20)
	if !ok || first != 2 || last != 3 {
		t.Errorf("guest RAM at %d to %d (%v), want 2 to 3", first, last, ok)
	}
	if _, _, ok := findRun(maps, 3<<20); ok {
		t.Error("3 MiB found where there are none")
	}
}

func TestLargestAreSorted(t *testing.T) {
	var list []Mapping
	for i := range uint64(2 * maxLargest) {
		list = insertLargest(list, Mapping{RSS: i * 7 % 11})
	}
	if len(list) != maxLargest {
		t.Fatalf("%d mappings kept, want %d", len(list), maxLargest)
	}
	for i := 1; i < len(list); i++ {
		if list[i].RSS > list[i-1].RSS {
			t.Errorf("%d after %d", list[i].RSS, list[i-1].RSS)
		}
	}
}

func TestOfProcessNeedsGuestRAM(t *testing.T) {
	if _, err := OfProcess(os.Getpid(), 123<<40); err == nil {
		t.Error("this process was taken for a VMM of 123 TiB")
	}
}
