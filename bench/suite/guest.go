package suite

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/gureum/gureum/bench/cpu"
)

// GuestCommand is the hidden command by which this program makes loads, in a guest or on
// the host.
const GuestCommand = "bench-load"

// The marks of its output, which shares a console with the kernel.
const (
	rowMark = "gureum-bench row "
	cpuMark = "gureum-bench cpu "
)

// GuestMain carries the command out:
//
//	rows -disk DEVICE -server HOST NUMBER,NUMBER...
//	cpu -runs N -scale PERCENT
func GuestMain(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("give rows or cpu")
	}
	f := flag.NewFlagSet(args[0], flag.ContinueOnError)
	f.SetOutput(io.Discard)
	disk, server := f.String("disk", "", "device"), f.String("server", "", "address")
	runs, scale := f.Int("runs", 1, "samples"), f.Int("scale", 100, "percent of the work")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "rows":
		return makeRows(f.Arg(0), *disk, net.JoinHostPort(*server, loadPort), out)
	case "cpu":
		return makeCPU(ctx, *runs, *scale, out)
	}
	return fmt.Errorf("%q: give rows or cpu", args[0])
}

// makeRows tells the answer to each row behind a mark.
func makeRows(numbers, disk, server string, out io.Writer) error {
	all := rows()
	for text := range strings.SplitSeq(numbers, ",") {
		if text == "" {
			continue // a guest that does nothing, for comparison
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n >= len(all) {
			return fmt.Errorf("row %q: give 0 to %d", text, len(all)-1)
		}
		var answer strings.Builder
		if err := all[n].make(disk, server, &answer); err != nil {
			return fmt.Errorf("%s: %w", all[n].figure, err)
		}
		fmt.Fprintf(out, "%s%d %s\n", rowMark, n, strings.TrimSpace(answer.String()))
	}
	return nil
}

// makeCPU tells each load's samples as JSON behind a mark.
func makeCPU(ctx context.Context, runs, scale int, out io.Writer) error {
	var failed error
	err := cpu.Run(ctx, cpu.Names(), runs, scale, func(s cpu.Sample) {
		text, err := json.Marshal(s)
		failed = errors.Join(failed, err)
		fmt.Fprintf(out, "%s%s\n", cpuMark, text)
	})
	return errors.Join(err, failed)
}
