package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"text/tabwriter"
	"time"

	"github.com/gureum/gureum/bench/footprint"
)

// settleTime is how long a guest is left alone before it is measured: what its
// start took for a moment has been given back by then.
const settleTime = 2 * time.Second

// MeasureIdle starts a machine with the embedded guest, and measures the VMM
// while the guest does nothing.
func MeasureIdle(ctx context.Context, gureum string) (footprint.Memory, error) {
	cmd := exec.CommandContext(ctx, gureum, "run", "--memory", fmt.Sprintf("%dM", guestMemory),
		"--", "sh", "-c", "echo ready; exec sleep 1000000")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return footprint.Memory{}, err
	}
	if err := cmd.Start(); err != nil {
		return footprint.Memory{}, err
	}
	footprint, err := measureReady(cmd, out)
	// Its status is that of a killed process.
	return footprint, errors.Join(err, cmd.Process.Kill(), ignoreExit(cmd.Wait()))
}

func measureReady(cmd *exec.Cmd, out io.Reader) (footprint.Memory, error) {
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "ready\n" {
		return footprint.Memory{}, fmt.Errorf("the guest said %q: %w", line, err)
	}
	time.Sleep(settleTime)
	return footprint.OfProcess(cmd.Process.Pid, guestMemory<<20)
}

func ignoreExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// PrintFootprint prints what a VMM takes and where.
func PrintFootprint(w io.Writer, f footprint.Memory) error {
	fmt.Fprintf(w, "\nresident memory with an idle guest of %d MiB: VMM %.1f MiB, guest RAM %.1f MiB\n",
		guestMemory, mib(f.VMM), mib(f.Guest))
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, m := range f.Largest {
		fmt.Fprintf(table, "  %.2f MiB\t%s\n", mib(m.RSS), m.Name)
	}
	return table.Flush()
}

func mib(n uint64) float64 { return float64(n) / (1 << 20) }
