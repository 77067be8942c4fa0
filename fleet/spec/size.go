package spec

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Size is a number of bytes, written as 512M or 2GiB. It is a flag value.
type Size uint64

// String prints the value as the flag's default.
func (v *Size) String() string {
	n := uint64(*v)
	for _, u := range []string{"", "K", "M", "G"} {
		if n == 0 || n%1024 != 0 {
			return strconv.FormatUint(n, 10) + u
		}
		n /= 1024
	}
	return strconv.FormatUint(n, 10) + "T"
}

// Type names the value in help texts.
func (v *Size) Type() string { return "SIZE" }

// Set parses a size.
func (v *Size) Set(s string) error {
	n, err := ParseSize(s)
	if err != nil {
		return err
	}
	*v = Size(n)
	return nil
}

// ParseSize reads a whole number with an optional binary unit: K, M, G or T,
// alone or as KiB, MiB, ... in either case. Without a unit it counts bytes.
func ParseSize(s string) (uint64, error) {
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	shift, ok := unitShift(s[len(digits):])
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || !ok {
		return 0, fmt.Errorf("%q is not a size: write it as 512M or 2G", s)
	}
	if bits.Len64(n)+shift > 64 {
		return 0, fmt.Errorf("%q is more than any machine can have", s)
	}
	return n << shift, nil
}

func unitShift(unit string) (shift int, ok bool) {
	switch strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(unit), "b"), "i") {
	case "":
		return 0, unit == "" || strings.EqualFold(unit, "b")
	case "k":
		return 10, true
	case "m":
		return 20, true
	case "g":
		return 30, true
	case "t":
		return 40, true
	}
	return 0, false
}
