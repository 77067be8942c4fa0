package result

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func joinable(group, subject string) *Report {
	return &Report{
		Schema: Schema, Version: "v1", Clock: ClockWall, Started: time.Unix(100, 0), Seconds: 2,
		Environment: Environment{CPU: "a CPU", Peers: map[string]string{"gureum": "v1", subject: "7"}},
		Noise:       &Noise{Steal: 0.1, Throttled: 1, Load: 3},
		Series:      []Series{{Key: Key{Group: group, Figure: "f", Subject: subject}, Unit: Count, Samples: []float64{1}}},
		Notes:       []Note{{Kind: KindMethod, Text: "of both"}, {Group: group, Kind: KindMethod, Text: "of one"}},
	}
}

func TestJoin(t *testing.T) {
	one, two := joinable("boot", "qemu"), joinable("net", "host")
	two.Started, two.Noise.Steal, two.Interrupted = time.Unix(50, 0), 0.2, true
	kept := *one
	got, err := Join(one, two)
	if err != nil {
		t.Fatal(err)
	}
	want := joinable("boot", "qemu")
	want.Series = append(want.Series, two.Series...)
	want.Notes = append(want.Notes, two.Notes[1])
	want.Environment.Peers["host"] = "7"
	want.Started, want.Seconds, want.Interrupted = time.Unix(50, 0), 4, true
	want.Noise = &Noise{Steal: 0.2, Throttled: 2, Load: 3}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	if !reflect.DeepEqual(*one, kept) || one.Environment.Peers["host"] != "" {
		t.Error("a report that was joined changed")
	}
	if got, err = Join(one); err != nil || !reflect.DeepEqual(got, one) {
		t.Errorf("alone: %+v, %v", got, err)
	}
}

func TestJoinRefuses(t *testing.T) {
	for want, change := range map[string]func(*Report){
		"counted in":         func(r *Report) { r.Clock = ClockInstructions },
		"different versions": func(r *Report) { r.Version = "v2" },
		"different hosts":    func(r *Report) { r.Environment.Kernel = "another" },
		"gureum is v1 in":    func(r *Report) { r.Environment.Peers["gureum"] = "v2" },
		"two of them have":   func(r *Report) { r.Series = joinable("boot", "qemu").Series },
	} {
		two := joinable("net", "host")
		change(two)
		if _, err := Join(joinable("boot", "qemu"), two); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := Join(); err == nil {
		t.Error("none are joined")
	}
	two := joinable("net", "host")
	two.Noise = nil
	if got, err := Join(joinable("boot", "qemu"), two); err != nil || got.Noise != nil {
		t.Errorf("noise that one does not tell: %+v, %v", got, err)
	}
}
