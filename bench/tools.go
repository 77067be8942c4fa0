package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/gureum/gureum/guest/initramfs"
)

// toolPort is where iperf3 listens.
const toolPort = "5202"

// ToolRows are the measurements, with an amount of work of scale percent: fio and iperf3 as
// Debian packs them, and ping. They are made one after the other in one guest. Numbers of
// requests are fixed, so that instructions can be compared.
func ToolRows(scale int) []IORow {
	amount := func(n int) int { return max(n*scale/100, 1) }
	disk := func(name, flags string, requests, field int) IORow {
		return IORow{
			Name: "fio, " + name,
			command: fmt.Sprintf("/usr/bin/fio --name=x --filename=/dev/vda --direct=1 --ioengine=libaio --thread --randrepeat=1 --norandommap"+
				" %s --number_ios=%d --output-format=terse --terse-version=3 | /bin/busybox awk -F';' '{print \"iops=\" $%d}'", flags, amount(requests), field),
			figure: "iops", unit: "requests/s",
		}
	}
	const read, written = 8, 49 // fields of the terse format
	tcp := func(name, flags string, size int) IORow {
		return IORow{
			Name: "iperf3, " + name,
			// The server may still be busy with the end of the test before.
			command: fmt.Sprintf("for try in 1 2 3; do /usr/bin/iperf3 -c %s -p %s -f k -n %dK %s && break; /bin/busybox sleep 1; done | /bin/busybox awk"+
				" '/receiver/ {for (i = 1; i <= NF; i++) if ($i == \"Kbits/sec\") v = $(i-1)} END {print \"mbps=\" v/1000}'", ioHostAddr, toolPort, amount(size), flags),
			figure: "mbps", unit: "Mbit/s",
		}
	}
	return []IORow{
		disk("4k random read, depth 1", "--rw=randread --bs=4k --iodepth=1", 2000, read),
		disk("4k random read, depth 32", "--rw=randread --bs=4k --iodepth=32", 8000, read),
		disk("4k random write, depth 1", "--rw=randwrite --bs=4k --iodepth=1", 2000, written),
		disk("4k random write, depth 32", "--rw=randwrite --bs=4k --iodepth=32", 8000, written),
		disk("128k read, depth 8", "--rw=read --bs=128k --iodepth=8", 1000, read),
		disk("128k write, depth 8", "--rw=write --bs=128k --iodepth=8", 1000, written),
		tcp("to host", "", 64<<10),
		tcp("from host", "-R", 64<<10),
		tcp("to host, 4 streams", "-P 4", 16<<10),
		tcp("from host, 4 streams", "-R -P 4", 16<<10),
		{
			Name:    "ping",
			command: fmt.Sprintf("/bin/busybox ping -q -c %d -i 0.01 %s | /bin/busybox awk -F/ '/round-trip/ {print \"us=\" $4*1000}'", amount(500), ioHostAddr),
			figure:  "us", unit: "µs, less is better",
		},
	}
}

// addTools puts the programs of ToolRows into an archive, with the libraries that
// they load.
func addTools(a *initramfs.Archive) error {
	added := map[string]bool{}
	for _, name := range []string{"fio", "iperf3"} {
		path, err := exec.LookPath(name)
		if err != nil {
			return fmt.Errorf("%w: apt-get install %s", err, name)
		}
		out, err := exec.Command("ldd", path).Output()
		if err != nil {
			return fmt.Errorf("ldd %s: %w", path, err)
		}
		for _, file := range append(librariesOf(out), path) {
			if added[file] {
				continue
			}
			added[file] = true
			real, err := filepath.EvalSymlinks(file)
			if err != nil {
				return err
			}
			a.HostFile(strings.TrimPrefix(file, "/"), initramfs.Attr{Mode: 0o755}, real)
		}
	}
	return a.Err()
}

// librariesOf finds the files in what ldd prints.
func librariesOf(ldd []byte) []string {
	var files []string
	for line := range bytes.Lines(ldd) {
		for word := range strings.FieldsSeq(string(line)) {
			if strings.HasPrefix(word, "/") {
				files = append(files, word)
			}
		}
	}
	return files
}

// ServeTools starts the host's end of ToolRows; the function returned ends it.
func ServeTools(ctx context.Context) (stop func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, "iperf3", "-s", "-B", ioHostAddr, "-p", toolPort)
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	stop = func() error {
		cancel()
		return ignoreExit(cmd.Wait())
	}
	for range 100 {
		c, err := net.Dial("tcp", net.JoinHostPort(ioHostAddr, toolPort))
		if err == nil {
			return stop, c.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil, errors.Join(errors.New("iperf3 does not listen"), stop())
}

func ignoreExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}
