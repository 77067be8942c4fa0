package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// mergeProfiles writes the coverage of several test programs as one profile.
// Blocks that more than one of them covers are counted together.
func mergeProfiles(path string, pkgs []testPackage) error {
	counts := map[string]uint64{} // block and its statements, to its count
	for _, p := range pkgs {
		text, err := os.ReadFile(p.profile)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it failed before it could write one
		}
		if err != nil {
			return err
		}
		if err := addProfile(counts, string(text)); err != nil {
			return fmt.Errorf("coverage of %s: %w", p.path, err)
		}
	}
	blocks := make([]string, 0, len(counts))
	for block := range counts {
		blocks = append(blocks, block)
	}
	slices.Sort(blocks)
	var b strings.Builder
	b.WriteString("mode: atomic\n")
	for _, block := range blocks {
		fmt.Fprintf(&b, "%s %d\n", block, counts[block])
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

// addProfile adds the lines of a profile: "file:from,to statements count".
func addProfile(counts map[string]uint64, text string) error {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "mode: ") {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		if i < 0 {
			return fmt.Errorf("malformed line %q", line)
		}
		n, err := strconv.ParseUint(line[i+1:], 10, 64)
		if err != nil {
			return fmt.Errorf("malformed line %q", line)
		}
		counts[line[:i]] += n
	}
	return nil
}
