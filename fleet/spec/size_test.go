package spec

import "testing"

func TestParseSize(t *testing.T) {
	for _, c := range []struct {
		in   string
		want uint64
		ok   bool
	}{
		{"0", 0, true},
		{"4096", 4096, true},
		{"4096b", 4096, true},
		{"64k", 64 << 10, true},
		{"512M", 512 << 20, true},
		{"512MiB", 512 << 20, true},
		{"2gb", 2 << 30, true},
		{"16T", 16 << 40, true},
		{"16777216T", 0, false},
		{"99999999999999999999", 0, false},
		{"", 0, false},
		{"M", 0, false},
		{"-1M", 0, false},
		{"1.5G", 0, false},
		{"5i", 0, false},
		{"5X", 0, false},
	} {
		got, err := ParseSize(c.in)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("ParseSize(%q) = %d, %v; want %d, ok %v", c.in, got, err, c.want, c.ok)
		}
	}
}

func TestSizePrintsWhatItParses(t *testing.T) {
	for _, s := range []string{"0", "1", "4K", "256M", "3G", "5T", "6000T"} {
		var v Size
		if err := v.Set(s); err != nil {
			t.Fatal(err)
		}
		if v.String() != s {
			t.Errorf("%q prints as %q", s, v.String())
		}
	}
}
