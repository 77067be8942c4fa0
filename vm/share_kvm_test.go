package vm

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shareTree has a guest do all that can be done in a folder.
const shareTree = `set -e
cd /mnt/data
echo hello > a; cat a; cp a b; mv b c; ln c hard; ln -s c sym; cat sym
test "$(stat -c %h c)" = 2
mkdir -p d/e/f; rmdir d/e/f; mv d moved; test -d moved/e
chmod 640 a; test "$(stat -c %a a)" = 640
touch -d '2001-02-03 04:05:06' a; test "$(stat -c %Y a)" = 981173106
printf x >> a; test "$(wc -c < a)" = 7
truncate -s 3 a; test "$(cat a)" = hel
rm hard; test "$(stat -c %h c)" = 1
mkfifo p; test -p p; rm p
! mknod dev c 1 3 2>/dev/null
dd if=/dev/urandom of=big bs=1M count=8 2>/dev/null; sync; sha256sum < big | cut -c1-64 > big.sum
df . > /dev/null
i=0; while [ $i -lt 200 ]; do : > moved/f$i; i=$((i+1)); done
test "$(ls moved | wc -l)" = 201
ls many | wc -l
for j in 1 2 3 4; do (dd if=/dev/zero of=par$j bs=64k count=32 2>/dev/null; rm par$j) & done; wait
`

func TestKVMShare(t *testing.T) {
	dir := scratchFS(t, "tmpfs", 64<<20)
	if err := os.Mkdir(filepath.Join(dir, "many"), 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 2000 {
		if err := os.WriteFile(filepath.Join(dir, "many", fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g := startLinux(t, Config{CPUs: 2, Shares: []Share{{Dir: dir, Tag: "data"}}})
	out := g.sh(shareTree)
	if lines := strings.Fields(out); len(lines) != 3 || lines[2] != "2000" {
		t.Errorf("%q", out)
	}
	big, err := os.ReadFile(filepath.Join(dir, "big"))
	if err != nil {
		t.Fatal(err)
	}
	want := sha256.Sum256(big)
	sum, err := os.ReadFile(filepath.Join(dir, "big.sum"))
	if err != nil || strings.TrimSpace(string(sum)) != hex.EncodeToString(want[:]) || len(big) != 8<<20 {
		t.Errorf("%d bytes, the guest's sum is %s, ours %x", len(big), sum, want)
	}
	// What the host writes shows in the guest, after a second at the latest.
	if err := os.WriteFile(filepath.Join(dir, "fresh"), bytes.Repeat([]byte("new"), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := g.sh("sleep 2; wc -c < /mnt/data/fresh; umount /mnt/data; mount -t virtiofs data /mnt; cat /mnt/c"); got != "3145728\nhello" {
		t.Errorf("%q", got)
	}
	if log := g.sh("dmesg"); strings.Contains(log, "fuse:") && strings.Contains(log, "error") {
		t.Errorf("%s", log)
	}
}

func TestKVMShareReadOnly(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "share")
	for _, err := range []error{
		os.Mkdir(dir, 0o755),
		os.WriteFile(filepath.Join(top, "secret"), []byte("secret"), 0o644),
		os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o644),
		os.Symlink("../secret", filepath.Join(dir, "link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	g := startLinux(t, Config{Shares: []Share{{Dir: dir, Tag: "data", ReadOnly: true}}})
	g.sh("umount /mnt/data; mount -t virtiofs data /mnt; cat /mnt/file")
	for _, script := range []string{"echo x > /mnt/file", "rm /mnt/file", "mkdir /mnt/d", "chmod 777 /mnt/file", "cat /mnt/link", "mv /mnt/file /mnt/g"} {
		if out, status := g.try(script); status == 0 {
			t.Errorf("%s succeeds: %s", script, out)
		}
	}
}
