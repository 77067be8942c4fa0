package suite

import (
	"errors"
	"fmt"
	"slices"

	"github.com/gureum/gureum/bench/load"
	"github.com/gureum/gureum/bench/result"
)

// row is one measurement of disk or network. It is made by this program itself, in a guest
// or on the host, so both sides know it by its number.
type row struct {
	group, figure string
	// disk is the job, else kind and streams are those of a job of the network.
	disk    *load.DiskJob
	kind    string
	streams int
	// amount is how many requests, or bytes of streams, a run has.
	amount int
	unit   string
	better result.Better
	// cost is what its CPU time and exits are told for.
	cost string
	// setups are the names of those that it is made in.
	setups []string
}

// The groups that have rows.
const (
	groupBlock = "block"
	groupNet   = "net"
)

// Sizes of blocks, in bytes.
const (
	small = 4 << 10
	large = 128 << 10
)

// rows are all of them, in order. Amounts are fixed, so that the work is the same for all
// and instructions can be compared.
func rows() []row { return slices.Concat(blockRows(), netRows()) }

func blockRows() []row {
	var all []row
	for _, kind := range []load.DiskJob{{BlockSize: small, Random: true}, {BlockSize: large}} {
		for _, what := range []load.DiskJob{{}, {Write: true}, {Mixed: true}} {
			for _, depth := range []int{1, 32} {
				j := kind
				j.Write, j.Mixed, j.Depth, j.Jobs = what.Write, what.Mixed, depth, 1
				all = append(all, diskRow(j, onOneCPU))
			}
		}
	}
	for _, what := range []load.DiskJob{{}, {Write: true}, {Mixed: true}} {
		what.BlockSize, what.Random, what.Depth, what.Jobs = small, true, 32, severalJobs
		all = append(all, diskRow(what, onSeveralCPUs))
	}
	return all
}

// severalJobs is the number of jobs where there are several, and of their guest's CPUs.
const severalJobs = 2

// Numbers of requests of a job. One at a time is the slowest.
const (
	smallRequests = 500
	largeRequests = 50
	oneByOne      = 2 // and so many times fewer then
)

func diskRow(j load.DiskJob, setup string) row {
	r := row{
		group: groupBlock, disk: &j, amount: smallRequests, unit: result.PerSecond, better: result.Higher, cost: "request",
		setups: []string{setup},
	}
	pattern, what := "4k random", "read"
	if j.BlockSize == large {
		pattern, r.amount, r.unit = "128k sequential", largeRequests, result.BytesPerSec
	}
	if j.Write {
		what = "write"
	} else if j.Mixed {
		what = "mixed"
	}
	if j.Depth == 1 {
		r.amount /= oneByOne
	}
	r.figure = fmt.Sprintf("%s %s, depth %d", pattern, what, j.Depth)
	if j.Jobs > 1 {
		r.figure += fmt.Sprintf(", %d jobs", j.Jobs)
	}
	return r
}

// Amounts of the network's rows.
const (
	streamBytes = 4 << 20
	roundTrips  = 125
	connections = 25
	datagrams   = 500
)

func netRows() []row {
	all := []string{onTap, onVhost, onUser}
	everywhere := append(slices.Clone(all), onPair)
	net := func(figure, kind string, amount int, unit, cost string, setups ...string) row {
		r := row{group: groupNet, figure: figure, kind: kind, streams: 1, amount: amount, unit: unit, better: result.Higher, cost: cost, setups: setups}
		if unit == result.Nanoseconds {
			r.better = result.Lower
		}
		return r
	}
	stream := func(figure, kind string, streams int, setups ...string) row {
		r := net(figure, kind, streamBytes, result.BytesPerSec, "Gbit", setups...)
		r.streams = streams
		return r
	}
	return []row{
		stream("TCP, guest to host", load.KindSend, 1, all...),
		stream("TCP, host to guest", load.KindFetch, 1, all...),
		stream("TCP, guest to guest", load.KindSend, 1, onPair),
		stream("TCP, guest to host, 4 streams", load.KindSend, 4, onTap, onQueues),
		stream("TCP, host to guest, 4 streams", load.KindFetch, 4, onTap, onQueues),
		net("TCP round trip", load.KindEcho, roundTrips, result.Nanoseconds, "round trip", everywhere...),
		net("TCP connections with a request", load.KindConnect, connections, result.PerSecond, "connection", everywhere...),
		net("UDP, guest to host", load.KindUDPSend, datagrams, result.PerSecond, "datagram", all...),
		net("UDP, host to guest", load.KindUDPGet, datagrams, result.PerSecond, "datagram", all...),
		net("UDP, guest to guest", load.KindUDPSend, datagrams, result.PerSecond, "datagram", onPair),
	}
}

// scaled is the amount of a run at some percent of the work; jobs and streams share it.
func (r *row) scaled(percent int) int {
	parts := max(r.streams, 1)
	return max(r.amount*percent/100/parts, 2) * parts
}

// make carries a row out, on a disk or with a server.
func (r *row) make(disk, server string, percent int) (answer, error) {
	amount := r.scaled(percent)
	switch {
	case r.disk != nil:
		return r.makeDisk(disk, amount)
	case r.kind == load.KindUDPSend || r.kind == load.KindUDPGet:
		got, err := load.RunUDP(load.UDPJob{Server: server, Receive: r.kind == load.KindUDPGet, Amount: uint64(amount)})
		if err != nil {
			return answer{}, err
		}
		return answer{Requests: got.Sent, Lost: got.Sent - got.Received, Value: got.PerSecond()}, nil
	}
	got, err := load.RunTCP(load.TCPJob{Server: server, Kind: r.kind, Amount: uint64(amount), Streams: r.streams})
	if err != nil {
		return answer{}, err
	}
	if got.Elapsed <= 0 {
		return answer{}, errors.New("it took no time")
	}
	a := answer{Requests: got.Amount, Value: float64(got.Amount) / got.Elapsed.Seconds(), Latency: shorten(got.Latencies)}
	if r.unit == result.Nanoseconds {
		a.Value = float64(got.Elapsed.Nanoseconds()) / float64(got.Amount)
	}
	return a, nil
}

func (r *row) makeDisk(path string, amount int) (answer, error) {
	job := *r.disk
	job.Path, job.Requests = path, amount
	got, err := load.RunDisk(job)
	if err != nil {
		return answer{}, err
	}
	if got.Elapsed <= 0 {
		return answer{}, errors.New("it took no time")
	}
	a := answer{Requests: uint64(got.Requests), Value: float64(got.Requests) / got.Elapsed.Seconds(), Latency: shorten(got.Latencies)}
	if r.unit == result.BytesPerSec {
		a.Value = float64(got.Bytes) / got.Elapsed.Seconds()
	}
	return a, nil
}

// costs is how many units of cost an answer has.
func (r *row) costs(a answer) float64 {
	if r.cost == "Gbit" {
		return float64(a.Requests) * 8 / 1e9
	}
	return float64(a.Requests)
}

// check says what is wrong with an answer that a guest gave.
func (r *row) check(a answer, percent int) error {
	if a.Error != "" {
		return errors.New(a.Error)
	}
	if want := uint64(r.scaled(percent)); a.Requests != want || a.Lost > want || !(a.Value > 0) {
		return fmt.Errorf("it made %d of %d requests, %d lost, at %v %s", a.Requests, want, a.Lost, a.Value, r.unit)
	}
	return nil
}
