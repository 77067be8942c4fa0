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
)

// settleTime is how long a guest is left alone before it is measured: what its
// start took for a moment has been given back by then.
const settleTime = 2 * time.Second

// MeasureIdle starts a machine with the embedded guest, and measures the VMM
// while the guest does nothing.
func MeasureIdle(ctx context.Context, gureum string) (Footprint, error) {
	cmd := exec.CommandContext(ctx, gureum, "run", "--memory", fmt.Sprintf("%dM", guestMemory),
		"--", "sh", "-c", "echo ready; exec sleep 1000000")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return Footprint{}, err
	}
	if err := cmd.Start(); err != nil {
		return Footprint{}, err
	}
	footprint, err := measureReady(cmd, out)
	// Its status is that of a killed process.
	return footprint, errors.Join(err, cmd.Process.Kill(), ignoreExit(cmd.Wait()))
}

func measureReady(cmd *exec.Cmd, out io.Reader) (Footprint, error) {
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "ready\n" {
		return Footprint{}, fmt.Errorf("the guest said %q: %w", line, err)
	}
	time.Sleep(settleTime)
	return MeasureFootprint(cmd.Process.Pid, guestMemory<<20)
}

func ignoreExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// PrintFootprint prints what a VMM takes and where.
func PrintFootprint(w io.Writer, f Footprint) error {
	fmt.Fprintf(w, "\nresident memory with an idle guest of %d MiB: VMM %.1f MiB, guest RAM %.1f MiB\n",
		guestMemory, mib(f.VMM), mib(f.Guest))
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, m := range f.Largest {
		fmt.Fprintf(table, "  %.2f MiB\t%s\n", mib(m.RSS), m.Name)
	}
	return table.Flush()
}

func mib(n uint64) float64 { return float64(n) / (1 << 20) }
