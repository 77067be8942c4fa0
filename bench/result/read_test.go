package result

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		``:                               "no report of gureum bench",
		`[]`:                             "no report of gureum bench",
		`{"series": []}`:                 "no schema or no clock",
		`{"schema": 1}`:                  "no schema or no clock",
		`{"schema": 2, "clock": "wall"}`: "schema 2, this gureum knows up to 1",
		`{"schema": 1, "clock": "wall", "series": [{"figure": "x"}]}`: "damaged",
		`{"schema": 1, "clock": "wall", "series": [{"group":"a","figure":"b","subject":"c"},{"group":"a","figure":"b","case":"d","subject":"c"},{"group":"a","figure":"b","subject":"c"}]}`: "two series of a, b, c",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for _, number := range []string{"1e300", "-1e300", "1e-300"} {
		if _, err := Parse([]byte(`{"schema": 1, "clock": "wall", "series": [{"group":"a","figure":"b","subject":"c","samples":[` + number + `]}]}`)); err == nil {
			t.Errorf("a sample of %s is taken", number)
		}
	}
	r, err := Parse([]byte(`{"schema": 1, "clock": "wall", "later": 1, "series": [{"group":"a","figure":"b","subject":"c","samples":[1]}]}`))
	if err != nil || len(r.Series) != 1 || r.Series[0].Samples[0] != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestRead(t *testing.T) {
	if _, err := Read(filepath.Join(t.TempDir(), "none.json")); err == nil || !strings.Contains(err.Error(), "none.json") {
		t.Error(err)
	}
	path := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil || !strings.Contains(err.Error(), "bad.json: no report") {
		t.Error(err)
	}
}
