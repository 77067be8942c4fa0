package suite

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gureum/gureum/bench/boot"
	"github.com/gureum/gureum/bench/footprint"
	"github.com/gureum/gureum/bench/payload"
	"github.com/gureum/gureum/bench/peer"
	"github.com/gureum/gureum/guest/initramfs"
)

// stage is a folder in memory with all that the contestants run and read, so that none
// waits for a disk.
type stage struct {
	dir            string
	gureum, kernel string
	initrd         string // of boot and footprint
	loadInitrd     string // with this program in it
}

// memoryDir is a file system in memory on every Linux host (shm_overview(7)).
const memoryDir = "/dev/shm"

// loadInit is the first program of guests that make loads. The kernel's command line has the
// guest's address and, with colons for blanks, what the loads are.
const loadInit = `#!/bin/sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev 2>/dev/null
/bin/busybox ifconfig lo 127.0.0.1 up
read -r line < /proc/cmdline
for word in $line; do
	case "$word" in
	bench.load=*) load=${word#bench.load=} ;;
	bench.addr=*) /bin/busybox ifconfig eth0 "${word#bench.addr=}" netmask 255.255.255.0 up 2>/dev/null ;;
	esac
done
/gureum ` + GuestCommand + ` $(echo "$load" | /bin/busybox tr : ' ')
echo "gureum-bench end $?"
case "$line" in *` + peer.ResetWord + `*) exec /bin/busybox reboot -f ;; esac
exec /bin/busybox poweroff -f
`

// endMark is what it prints behind the loads, with the status.
const endMark = "gureum-bench end "

// checkStatic refuses a program that guests cannot run, as they have no libraries.
func checkStatic(program string) error {
	f, err := elf.Open(program)
	if err != nil {
		return fmt.Errorf("%s: %w", program, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("this program was built with cgo, and guests are to run it too: build it with CGO_ENABLED=0")
		}
	}
	return nil
}

// newStage makes the folder. program is this program.
func newStage(program string) (*stage, error) {
	if err := checkStatic(program); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(memoryDir, "gureum-bench-")
	if err != nil {
		return nil, err
	}
	s := &stage{
		dir: dir, gureum: filepath.Join(dir, "gureum"), kernel: filepath.Join(dir, "vmlinux"),
		initrd: filepath.Join(dir, "initrd"), loadInitrd: filepath.Join(dir, "initrd-load"),
	}
	text, err := os.ReadFile(program)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	err = errors.Join(
		os.WriteFile(s.gureum, text, 0o755),
		payload.WriteKernel(s.kernel),
		payload.WriteInitrd(s.initrd, &initramfs.Archive{}, map[string][]byte{"bench-init": []byte(boot.Init), "bench-idle": []byte(footprint.Init)}),
		payload.WriteInitrd(s.loadInitrd, &initramfs.Archive{}, map[string][]byte{"bench-load": []byte(loadInit), "gureum": text}),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare what is measured in %s: %w", dir, err), s.close())
	}
	return s, nil
}

func (s *stage) close() error { return os.RemoveAll(s.dir) }
