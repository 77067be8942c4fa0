package suite

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/gureum/gureum/bench/load"
	"github.com/gureum/gureum/bench/result"
)

// row is one measurement of disk or network. It is made by this program itself, in a guest
// or on the host, so both sides know it by its number.
type row struct {
	group, figure string
	// args are those of load's commands; the device or the server goes in at the end.
	args []string
	// requests is how many requests, or bytes for streams, a run has.
	requests int
	// key is the word of load's answer that counts, and factor brings it to the unit.
	key    string
	factor float64
	unit   string
	better result.Better
	// cost is what its CPU time is told for, and so many of them there are.
	cost  string
	costs float64
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

// rows are all of them, in order. Numbers of requests are fixed, so that the work is the
// same for all and instructions can be compared.
func rows() []row {
	var all []row
	for _, kind := range []struct {
		name string
		size int
		args []string
	}{
		{"4k random", small, []string{"-random"}},
		{"128k sequential", large, nil},
	} {
		for _, write := range []bool{false, true} {
			for _, depth := range []int{1, 32} {
				all = append(all, diskRow(kind.name, kind.size, kind.args, write, depth))
			}
		}
	}
	return append(all,
		streamRow("TCP, guest to host", "send", 1),
		streamRow("TCP, host to guest", "fetch", 1),
		streamRow("TCP, guest to host, 4 streams", "send", 4),
		row{
			group: groupNet, figure: "TCP round trip", args: []string{"tcp", "echo"}, requests: 1000,
			key: "microseconds", factor: 1000, unit: result.Nanoseconds, better: result.Lower, cost: "round trip", costs: 1000,
		})
}

func diskRow(name string, size int, args []string, write bool, depth int) row {
	requests, what := 4000, "read"
	if size == large {
		requests = 1000
	}
	if depth == 1 {
		requests /= 2
	}
	all := append([]string{"disk", "-bs", strconv.Itoa(size), "-depth", strconv.Itoa(depth)}, args...)
	if write {
		all, what = append(all, "-write"), "write"
	}
	r := row{
		group: groupBlock, figure: fmt.Sprintf("%s %s, depth %d", name, what, depth), args: all, requests: requests,
		key: "iops", factor: 1, unit: result.PerSecond, better: result.Higher, cost: "request", costs: float64(requests),
	}
	if size == large {
		r.key, r.factor, r.unit = "mbps", 1e6, result.BytesPerSec
	}
	return r
}

func streamRow(name, kind string, streams int) row {
	const amount = 64 << 20
	return row{
		group: groupNet, figure: name, args: []string{"tcp", "-streams", strconv.Itoa(streams), kind}, requests: amount,
		key: "gbps", factor: 1e9 / 8, unit: result.BytesPerSec, better: result.Higher, cost: "GiB", costs: float64(amount) / (1 << 30),
	}
}

// make carries a row out, on a disk or with a server.
func (r *row) make(disk, server string, out io.Writer) error {
	if r.args[0] == "disk" {
		return load.DiskCommand(slices.Concat(r.args[1:], []string{"-requests", strconv.Itoa(r.requests), disk}), out)
	}
	return load.TCPCommand(slices.Concat(r.args[1:], []string{server, strconv.Itoa(r.requests)}), out)
}

// value finds the row's figure in load's answer.
func (r *row) value(line string) (float64, error) {
	for _, word := range strings.Fields(line) {
		if text, ok := strings.CutPrefix(word, r.key+"="); ok {
			v, err := strconv.ParseFloat(text, 64)
			return v * r.factor, err
		}
	}
	return 0, fmt.Errorf("%q has no %s", line, r.key)
}
