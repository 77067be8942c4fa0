package disk_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gureum/gureum/guest/disk"
)

// writerEnv names the image that a copy of this test works on until it is killed.
const writerEnv = "DISK_TEST_WRITE_TO"

// The copy writes in blocks that are larger than the image's clusters, and lie across
// them. A block holds the number of its round, all over.
const (
	killBlock  = 9000
	killBlocks = mib / killBlock
)

// TestAKilledWriterLosesNothingFlushed kills a process that writes to an overlay, at any
// time, and looks at what is left.
func TestAKilledWriterLosesNothingFlushed(t *testing.T) {
	if path := os.Getenv(writerEnv); path != "" {
		writeForEver(t, path)
	}
	dir := t.TempDir()
	base, path := filepath.Join(dir, "base.raw"), filepath.Join(dir, "a.qcow2")
	if err := disk.Create(base, mib, disk.Raw, disk.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := disk.CreateOverlay(path, base, disk.OverlayOptions{CreateOptions: disk.CreateOptions{ClusterSize: 4096}}); err != nil {
		t.Fatal(err)
	}
	var flushed [killBlocks]uint64 // the round of each block
	for kills := 1; kills <= 8; kills++ {
		last := writeAndKill(t, path, 40*kills, &flushed)
		report, err := disk.Check(path, "")
		if err != nil || report.Errors > 0 {
			t.Fatalf("after kill %d: %+v, %v", kills, report, err)
		}
		qemu(t, "sh", "-c", "qemu-img check -q "+path+" || [ $? = 3 ]")
		d := open(t, path, disk.Options{AllowBacking: true})
		for block, want := range flushed {
			var p [8]byte
			if _, err := d.ReadAt(p[:], int64(block)*killBlock); err != nil {
				t.Fatal(err)
			}
			got := binary.LittleEndian.Uint64(p[:])
			if underWay := block == (last+1)%killBlocks; got != want && !underWay {
				t.Fatalf("after kill %d: block %d is of round %d, was flushed as %d", kills, block, got, want)
			}
		}
		shut(t, d)
	}
}

// writeAndKill runs the writer until it has flushed so many blocks, then kills it. It
// notes what the writer says, and gives the last of it.
func writeAndKill(t *testing.T, path string, blocks int, flushed *[killBlocks]uint64) (last int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestAKilledWriterLosesNothingFlushed$")
	cmd.Env = append(os.Environ(), writerEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last = -1
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		if n == blocks {
			_ = cmd.Process.Kill() // the lines that are in the pipe still count
		}
		words := strings.Fields(lines.Text())
		if len(words) != 3 || words[0] != "flushed" {
			t.Fatalf("the writer says %q", lines.Text())
		}
		last, _ = strconv.Atoi(words[2])
		flushed[last], _ = strconv.ParseUint(words[1], 10, 64)
	}
	if err := cmd.Wait(); err == nil || last < 0 {
		t.Fatalf("the writer ended by itself: %v", err)
	}
	return last
}

// writeForEver writes and flushes one block after the other, and says which, until it is
// killed. Each round has a number above those before.
func writeForEver(t *testing.T, path string) {
	d := open(t, path, disk.Options{AllowBacking: true})
	p := make([]byte, killBlock)
	var first [8]byte
	if _, err := d.ReadAt(first[:], 0); err != nil {
		t.Fatal(err)
	}
	for round := binary.LittleEndian.Uint64(first[:]) + 1; ; round++ {
		for block := range killBlocks {
			for i := 0; i+8 <= len(p); i += 8 {
				binary.LittleEndian.PutUint64(p[i:], round)
			}
			if block%8 == 3 { // its whole clusters are given up and taken anew
				if err := d.Discard(int64(block)*killBlock, killBlock); err != nil {
					t.Fatal(err)
				}
			}
			write(t, d, p, int64(block)*killBlock)
			if err := d.Flush(); err != nil {
				t.Fatal(err)
			}
			fmt.Printf("flushed %d %d\n", round, block)
		}
	}
}
