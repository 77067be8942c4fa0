package vm

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/gureum/gureum/guest/agent"
)

// linuxGuest is a machine with the embedded guest.
type linuxGuest struct {
	*Machine
	t      *testing.T
	client *agent.Client
}

// startLinux starts the embedded guest and waits for its agent.
func startLinux(t *testing.T, c Config) *linuxGuest {
	t.Helper()
	c.Agent = true
	m := start(t, c)
	client, err := m.DialAgent(t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, m.ConsoleTail())
	}
	t.Cleanup(func() { _ = client.Close() })
	return &linuxGuest{Machine: m, t: t, client: client}
}

// try runs a shell script in the guest and returns its output and exit status.
func (l *linuxGuest) try(script string) (string, int) {
	l.t.Helper()
	var out bytes.Buffer
	status, err := l.client.Run(l.t.Context(), agent.Command{
		Args: []string{"sh", "-c", script}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out,
	})
	if err != nil {
		l.t.Fatalf("%s: %v\n%s", script, err, l.ConsoleTail())
	}
	return out.String(), status.Code
}

// sh is try for scripts that must succeed.
func (l *linuxGuest) sh(script string) string {
	l.t.Helper()
	out, status := l.try(script)
	if status != 0 {
		l.t.Fatalf("%s: status %d\n%s", script, status, out)
	}
	return strings.TrimSpace(out)
}

// residentMiB is the resident memory of this process.
func residentMiB(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize() >> 20
}
