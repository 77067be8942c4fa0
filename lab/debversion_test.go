package lab

import "testing"

func TestCompareVersions(t *testing.T) {
	// In order, as 'dpkg --compare-versions' has them.
	sorted := []string{
		"0", "1~rc1-1", "1-1", "1-1+b1", "1-1.1", "1-2", "1-10", "1.0~~a", "1.0~", "1.0", "1.0a", "1.0+b", "1.2", "1.10",
		"6.1.9-1", "6.1.176-1", "6.1.192-2", "6.12.117-1~deb12u1", "6.12.117-1", "1:0.1",
	}
	for i, a := range sorted {
		for j, b := range sorted {
			got := compareVersions(a, b)
			if (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("compareVersions(%q, %q) = %d", a, b, got)
			}
		}
	}
	for _, pair := range [][2]string{{"1", "0:1"}, {"1.01", "1.1"}, {"1", "1-0"}} {
		if got := compareVersions(pair[0], pair[1]); got != 0 {
			t.Errorf("compareVersions(%q, %q) = %d, want 0", pair[0], pair[1], got)
		}
	}
}

func FuzzCompareVersions(f *testing.F) {
	f.Add("1:2.3~rc1-4", "1:2.3-4+b1")
	f.Fuzz(func(t *testing.T, a, b string) {
		if ab, ba := compareVersions(a, b), compareVersions(b, a); ab > 0 != (ba < 0) || ab == 0 != (ba == 0) {
			t.Errorf("%q, %q: %d one way, %d the other", a, b, ab, ba)
		}
		if compareVersions(a, a) != 0 {
			t.Errorf("%q differs from itself", a)
		}
	})
}
