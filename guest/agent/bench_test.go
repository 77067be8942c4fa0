package agent

import (
	"io"
	"testing"
)

// BenchmarkOutput moves a command's output through a pipe in memory.
func BenchmarkOutput(b *testing.B) {
	c := newGuest(b, ServeOptions{})
	const size = 16 << 20
	b.SetBytes(size)
	for b.Loop() {
		if st, err := c.Run(b.Context(), Command{Args: sh("head -c 16777216 /dev/zero"), Stdout: io.Discard}); err != nil || st.Code != 0 {
			b.Fatal(st, err)
		}
	}
}

// BenchmarkRun is the round trip of the shortest command.
func BenchmarkRun(b *testing.B) {
	c := newGuest(b, ServeOptions{})
	for b.Loop() {
		if st, err := c.Run(b.Context(), Command{Args: []string{"true"}}); err != nil || st.Code != 0 {
			b.Fatal(st, err)
		}
	}
}
