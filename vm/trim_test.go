package vm

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestMappingsAreRead(t *testing.T) {
	const maps = "00400000-007f1000 r-xp 00000000 08:02 173521                             /usr/bin/with space\n" +
		"c000000000-c000400000 rw-p 00000000 00:00 0 \n" +
		"7ffd5-7ffd6 r--p 00000000 00:00 0                                  [vvar]\n"
	want := []mapping{
		{0x400000, 0x7f1000, false, "08:02 173521"},
		{0xc000000000, 0xc000400000, true, ""},
		{0x7ffd5, 0x7ffd6, false, ""},
	}
	all, err := readMappings(strings.NewReader(maps))
	if err != nil || !slices.Equal(all, want) {
		t.Errorf("%+v, %v, want %+v", all, err, want)
	}
	if file := fileAt(all, 0x401000); file != "08:02 173521" {
		t.Errorf("at 0x401000: %q", file)
	}
	if file := fileAt(all, 0x7f1000); file != "" {
		t.Errorf("behind it: %q", file)
	}
	for _, bad := range []string{"", "x", "1-2 r--p 0 0", "zz-1 r--p 0 00:00 0", "2-1 r--p 0 00:00 0"} {
		if _, err := parseMapping(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// TestTrimGivesProgramPagesBack looks at what this process has resident of files.
func TestTrimGivesProgramPagesBack(t *testing.T) {
	before := residentProgram(t)
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	if err := trimProcess(maps); err != nil {
		t.Fatal(err)
	}
	if after := residentProgram(t); after >= before {
		t.Errorf("%d KiB of the program are resident, %d before", after, before)
	}
}

// residentProgram is the resident memory of the program's file, in KiB.
func residentProgram(t *testing.T) (sum int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for line := range strings.Lines(string(text)) {
		switch f := strings.Fields(line); {
		case !strings.HasSuffix(f[0], ":"):
			inside = strings.HasSuffix(strings.TrimSpace(line), program)
		case inside && f[0] == "Rss:":
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	if sum == 0 {
		t.Fatal("nothing of the program is resident: the test looks in the wrong place")
	}
	return sum
}
