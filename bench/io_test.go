package bench

import (
	"bytes"
	"strings"
	"testing"
)

func TestFigureIsFoundInALine(t *testing.T) {
	const line = "load disk write=false bs=4096 depth=1 requests=10 seconds=0.5 iops=20 mbps=0.1"
	for name, want := range map[string]float64{"iops": 20, "seconds": 0.5, "bs": 4096, "ops": 0, "write": 0} {
		if got := figure(line, name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestGuestMakesEachRow(t *testing.T) {
	rows := IORows(10)
	script := initScriptFor(rows)
	for i, r := range rows {
		if !strings.Contains(script, r.command) || r.figure == "" || r.unit == "" {
			t.Errorf("row %d, %s, is not made", i, r.Name)
		}
	}
	if strings.Contains(script, "%!") {
		t.Errorf("the script is broken:\n%s", script)
	}
}

func TestContestantsDifferInTheVMMAlone(t *testing.T) {
	s := &Stage{Gureum: "gureum", kernel: "/k", ioInitrd: "/i"}
	one := len(s.IOContestants(IOConfig{Vhost: "off"}))
	both := s.IOContestants(IOConfig{Disk: "/dev/x", Cache: "none", Machine: "q35", Queues: 2, Vhost: "both"})
	if one == 0 || len(both) != 2*one {
		t.Errorf("%d contestants with vhost off, %d with both", one, len(both))
	}
	for _, c := range both {
		line := strings.Join(c.Args, " ")
		for _, want := range []string{"/k", "/i", "/dev/x", TapName, "256", "rdinit=/bench-io", "queues=2"} {
			if !strings.Contains(line, want) {
				t.Errorf("%s: no %s in %s", c.Name, want, line)
			}
		}
	}
}

func TestPrintIO(t *testing.T) {
	var b bytes.Buffer
	rows := IORows(100)[:2]
	if err := PrintIO(&b, rows, []IOResult{{Name: "one", Figures: []float64{1, 2.5}}}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(b.String(), "\n"); got != 4 || !strings.Contains(b.String(), "2.5") {
		t.Errorf("table:\n%s", b.String())
	}
}
