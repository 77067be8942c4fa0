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
	"time"

	"github.com/gureum/gureum/bench/cpu"
	"github.com/gureum/gureum/bench/load"
)

// GuestCommand is the hidden command by which this program makes loads, in a guest or on
// the host.
const GuestCommand = "bench-load"

// The marks of its output, which shares a console with the kernel.
const (
	rowMark   = "gureum-bench row "
	cpuMark   = "gureum-bench cpu "
	serveMark = "gureum-bench serves"
)

// What is said of a row behind its mark and number: that rows are going to be made, when one
// begins and ends, and what came of it.
const (
	rowOpens  = "open"
	rowBegins = "begin"
	rowEnds   = "end"
	rowAnswer = "answer"
)

// idleRow is the number of a row that makes nothing, for comparison; it is made idleRows
// times before all others.
const (
	idleRow  = -1
	idleRows = 3
)

// A guest rests after each mark, while the host reads its counters: for settle, which is
// plenty on a machine whose time is counted instructions, or for settleWall, as others have
// more to do. It rests for settleFirst while the host finds the counters.
const (
	settle      = 5 * time.Millisecond
	settleWall  = 20 * time.Millisecond
	settleFirst = 60 * time.Millisecond
)

// GuestMain carries the command out:
//
//	rows -disk DEVICE -server HOST -runs N -scale PERCENT -settle DURATION NUMBER,NUMBER...
//	serve ADDRESS
//	cpu -runs N -scale PERCENT
func GuestMain(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("give rows, serve or cpu")
	}
	f := flag.NewFlagSet(args[0], flag.ContinueOnError)
	f.SetOutput(io.Discard)
	disk, server := f.String("disk", "", "device"), f.String("server", "", "address")
	runs, scale := f.Int("runs", 1, "samples"), f.Int("scale", 100, "percent of the work")
	rest := f.Duration("settle", settle, "how long to rest after a mark")
	small := f.Bool("small", false, "leave out loads of much memory")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "rows":
		m := rowMaker{disk: *disk, server: net.JoinHostPort(*server, loadPort), scale: *scale, settle: *rest, out: out}
		return m.makeRows(f.Arg(0), *runs)
	case "serve":
		return serveRows(f.Arg(0), out)
	case "cpu":
		return makeCPU(ctx, *runs, *scale, *small, out)
	}
	return fmt.Errorf("%q: give rows, serve or cpu", args[0])
}

// rowMaker makes rows on a disk, or with a server, with a percentage of their work.
type rowMaker struct {
	disk, server string
	scale        int
	settle       time.Duration
	out          io.Writer
}

// makeRows makes rows some times, each between two marks, and tells the answers.
func (m *rowMaker) makeRows(numbers string, runs int) error {
	all := rows()
	var wanted []int
	for text := range strings.SplitSeq(numbers, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n >= len(all) {
			return fmt.Errorf("row %q: give 0 to %d", text, len(all)-1)
		}
		wanted = append(wanted, n)
	}
	m.mark(idleRow, rowOpens)
	time.Sleep(max(settleFirst, 3*m.settle))
	for range idleRows {
		m.between(idleRow, func() {})
	}
	for range runs {
		for _, n := range wanted {
			if err := m.makeRow(n, &all[n]); err != nil {
				return err
			}
		}
	}
	return nil
}

// makeRow makes a row. One that fails tells so in its answer; the others go on.
func (m *rowMaker) makeRow(number int, w *row) error {
	var a answer
	m.between(number, func() {
		var err error
		if a, err = w.make(m.disk, m.server, m.scale); err != nil {
			a.Error = err.Error()
		}
	})
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	m.mark(number, rowAnswer+" "+string(text))
	return nil
}

// between does something between the marks of a row.
func (m *rowMaker) between(number int, do func()) {
	m.mark(number, rowBegins)
	time.Sleep(m.settle)
	do()
	m.mark(number, rowEnds)
	time.Sleep(m.settle)
}

func (m *rowMaker) mark(number int, what string) {
	fmt.Fprintf(m.out, "%s%d %s\n", rowMark, number, what)
}

// serveRows is the other guest of loads between two, until it is killed.
func serveRows(address string, out io.Writer) error {
	l, err := net.Listen("tcp4", net.JoinHostPort(address, loadPort))
	if err != nil {
		return err
	}
	fmt.Fprintln(out, serveMark)
	return load.Serve(l)
}

// makeCPU tells each load's samples as JSON behind a mark.
func makeCPU(ctx context.Context, runs, scale int, small bool, out io.Writer) error {
	names := cpu.Names()
	if small {
		names = cpu.SmallNames()
	}
	var failed error
	err := cpu.Run(ctx, names, runs, scale, func(s cpu.Sample) {
		text, err := json.Marshal(s)
		failed = errors.Join(failed, err)
		fmt.Fprintf(out, "%s%s\n", cpuMark, text)
	})
	return errors.Join(err, failed)
}
