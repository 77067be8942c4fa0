package result

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
)

// maxFile bounds a report's file, in bytes: the largest of ours have a few hundred KB.
const maxFile = 64 << 20

// Read reads the JSON file of a report. Its errors name the file.
func Read(path string) (*Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: no report of gureum bench: it has more than %d MiB", path, maxFile>>20)
	}
	r, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Parse takes the JSON form of a report apart, and checks what its readers rely on. Fields
// that it does not know are left alone: reports of later versions have more.
func Parse(text []byte) (*Report, error) {
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("no report of gureum bench: %w", err)
	}
	switch {
	case r.Schema < 1 || r.Clock == "":
		return nil, errors.New("no report of gureum bench: it has no schema or no clock; give what --json wrote")
	case r.Schema > Schema:
		return nil, fmt.Errorf("the report has schema %d, this gureum knows up to %d: read it with a newer one", r.Schema, Schema)
	}
	for _, s := range r.Series {
		if s.Group == "" || s.Figure == "" || s.Subject == "" {
			return nil, errors.New("damaged: a series has no group, figure or subject")
		}
		if !s.sound() {
			return nil, fmt.Errorf("damaged: %s has numbers that no measurement gives", s.Key)
		}
	}
	if key, is := r.twice(); is {
		return nil, fmt.Errorf("damaged: two series of %s", key)
	}
	return &r, nil
}

// twice finds a key that two series have.
func (r *Report) twice() (k Key, found bool) {
	seen := map[Key]bool{}
	for _, s := range r.Series {
		if seen[s.Key] {
			return s.Key, true
		}
		seen[s.Key] = true
	}
	return Key{}, false
}

// sound tells whether all numbers can be calculated with: ratios of them, and sums of these, are
// then numbers too.
func (s *Series) sound() bool {
	all := slices.Clone(s.Samples)
	if d := s.Distribution; d != nil {
		all = append(all, d.Min, d.P50, d.P99, d.P999, d.Max)
		for _, b := range d.Buckets {
			all = append(all, b.UpTo)
		}
	}
	const least, most = 1e-24, 1e24
	return !slices.ContainsFunc(all, func(v float64) bool { return v != 0 && (math.Abs(v) < least || math.Abs(v) > most) })
}

// String is the key in words, as "boot, exec to exit (2 CPUs), qemu".
func (k Key) String() string { return k.Group + ", " + k.Name() + ", " + k.Subject }

// Name is the figure with its case.
func (k Key) Name() string {
	if k.Case == "" {
		return k.Figure
	}
	return k.Figure + " (" + k.Case + ")"
}
