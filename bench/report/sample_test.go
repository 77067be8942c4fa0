package report

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gureum/gureum/bench/result"
)

// sample is a report with all that one can have: three subjects, several cases, distributions,
// noise, notes of each kind, too few runs, and texts that would be tags if they were let.
func sample() *result.Report {
	r := rand.New(rand.NewPCG(1, 2))
	runs := func(n int, median, spread float64) (s []float64) {
		for range n {
			s = append(s, median*(1+spread*r.NormFloat64()))
		}
		return s
	}
	events := func(n int, median float64) (s []float64) {
		for range n {
			s = append(s, median*math.Exp(0.2*r.NormFloat64()))
		}
		return append(s, median*40, median*41)
	}
	report := &result.Report{
		Schema: result.Schema, Version: "v1.2.3-4-gabcdef0", Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Seconds: 754, Clock: result.ClockWall,
		Environment: result.Environment{
			CPU: "An Example CPU @ 3.00GHz", CPUs: 8, MemoryBytes: 16 << 30, Kernel: "Linux 6.1.0-56-amd64 #1 SMP PREEMPT_DYNAMIC", KVM: "kvm_amd npt=Y avic=N",
			Mitigations: []string{"spectre_v2: Mitigation: Retpolines; STIBP: disabled; RSB filling", "meltdown: Mitigation: PTI"},
			Peers:       map[string]string{"gureum": "v1.2.3-4-gabcdef0", "qemu": "QEMU emulator version 7.2.22"},
		},
		Noise: &result.Noise{Steal: 0.004, Throttled: 2, Load: 0.35},
		Notes: []result.Note{
			{Kind: result.KindMissing, Text: "peer firecracker: not found in the path"},
			{Kind: result.KindNoise, Text: "CPUs were throttled 2 times: let them cool, or lower their clock, and measure again"},
			{Group: "boot", Kind: result.KindMethod, Text: "a note of <b>boot</b> & its \"method\""},
		},
	}
	add := func(group, figure, of, subject, unit string, better result.Better, samples []float64) *result.Series {
		report.Series = append(report.Series, result.Series{
			Key: result.Key{Group: group, Figure: figure, Case: of, Subject: subject}, Unit: unit, Better: better, Samples: samples,
		})
		return &report.Series[len(report.Series)-1]
	}
	for _, of := range []string{"vmlinux, 1 CPU, 256 MiB, MMIO", "2 CPUs", "a case with a long name: disks, networks & <script>alert(1)</script>"} {
		for _, figure := range []string{"exec to user space", "exec to exit"} {
			add("boot", figure, of, "gureum", result.Nanoseconds, result.Lower, runs(8, 104e6, 0.01))
			add("boot", figure, of, "qemu", result.Nanoseconds, result.Lower, runs(8, 412e6, 0.02))
		}
	}
	add("footprint", "RSS beside guest RAM", "", "gureum", result.Bytes, result.Lower, runs(5, 5.2*(1<<20), 0.01))
	add("footprint", "RSS beside guest RAM", "", "qemu", result.Bytes, result.Lower, runs(5, 41*(1<<20), 0.003))
	add("footprint", "threads", "", "gureum", result.Count, result.Neither, []float64{9, 9, 9, 9, 9})
	add("footprint", "threads", "", "qemu", result.Count, result.Neither, []float64{4, 4, 4, 4, 4})
	for i, figure := range []string{"integer", "a dependent read in 64 MiB", "fork and exec"} {
		spread := []float64{0.001, 0.3, 0.02}[i]
		add("cpu", figure, "", "gureum", result.Nanoseconds, result.Lower, runs(6, 1.01*math.Pow(50, float64(i)), spread))
		add("cpu", figure, "", "host", result.Nanoseconds, result.Lower, runs(6, math.Pow(50, float64(i)), spread))
	}
	for _, subject := range []string{"gureum", "qemu", "host"} {
		factor := map[string]float64{"gureum": 1, "qemu": 1.6, "host": 0.3}[subject]
		add("block", "4k random read, depth 1", "", subject, result.PerSecond, result.Higher, runs(5, 52000/factor, 0.02))
		s := add("block", "latency of 4k random read", "depth 1", subject, result.Nanoseconds, result.Lower, runs(5, 19000*factor, 0.02))
		s.Distribution = result.Summarize(events(5000, 19000*factor))
	}
	add("net", "TCP round trip", "", "gureum", result.Nanoseconds, result.Lower, runs(2, 61000, 0.1))
	add("net", "TCP round trip", "", "qemu", result.Nanoseconds, result.Lower, runs(2, 83000, 0.1))
	return report
}

func TestSampleIsWhole(t *testing.T) {
	if n := len(sample().Series); n != 12+4+6+6+2 {
		t.Errorf("%d series", n)
	}
}
