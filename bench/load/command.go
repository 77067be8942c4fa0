package load

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"time"
)

// DiskCommand is RunDisk with its job as arguments: flags and one path. It prints a line.
func DiskCommand(args []string, out io.Writer) error {
	var j DiskJob
	f := flags("disk")
	f.BoolVar(&j.Write, "write", false, "write instead of read")
	f.BoolVar(&j.Mixed, "mixed", false, "seven reads to three writes")
	f.BoolVar(&j.Random, "random", false, "blocks in random order")
	f.BoolVar(&j.Buffered, "buffered", false, "go through the page cache")
	f.IntVar(&j.BlockSize, "bs", 4096, "bytes of a request")
	f.IntVar(&j.Depth, "depth", 1, "requests under way at a time")
	f.IntVar(&j.Jobs, "jobs", 1, "threads that make requests")
	f.IntVar(&j.Requests, "requests", 0, "number of requests")
	seconds := f.Float64("seconds", 5, "duration if there is no number of requests")
	if err := f.Parse(args); err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	if f.NArg() != 1 {
		return errors.New("disk: give one path")
	}
	j.Path, j.Duration = f.Arg(0), time.Duration(*seconds*float64(time.Second))
	r, err := RunDisk(j)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "load disk write=%t mixed=%t random=%t bs=%d depth=%d jobs=%d %s\n", j.Write, j.Mixed, j.Random, j.BlockSize, j.Depth, j.Jobs, r)
	return err
}

// TCPCommand is RunTCP with its job as arguments: flags, what to do, HOST:PORT and an
// amount. It prints a line.
func TCPCommand(args []string, out io.Writer) error {
	j := TCPJob{}
	f := flags("tcp")
	f.IntVar(&j.Streams, "streams", 1, "connections at a time")
	if err := f.Parse(args); err != nil {
		return fmt.Errorf("tcp: %w", err)
	}
	if f.NArg() != 3 {
		return errors.New("tcp: give what to do, the server's HOST:PORT and an amount")
	}
	var err error
	if j.Amount, err = strconv.ParseUint(f.Arg(2), 10, 64); err != nil {
		return fmt.Errorf("amount: %w", err)
	}
	j.Kind, j.Server = f.Arg(0), f.Arg(1)
	r, err := RunTCP(j)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "load tcp kind=%s streams=%d %s\n", j.Kind, j.Streams, r)
	return err
}

func flags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	return f
}
