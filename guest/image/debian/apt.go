package debian

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// keyring has the archive's keys.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// hostAPT is what the host's apt knows of how to reach the archive.
type hostAPT struct {
	mirror, security string   // of Debian; "" where the host names none
	options          []string // proxies, certificates: lines of apt.conf(5)
}

// readHostAPT reads the host's apt configuration, as far as it has one.
func readHostAPT(ctx context.Context) (hostAPT, error) {
	var h hostAPT
	files := []string{"/etc/apt/sources.list"}
	for _, pattern := range []string{"/etc/apt/sources.list.d/*.list", "/etc/apt/sources.list.d/*.sources"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return h, err
		}
		files = append(files, found...)
	}
	for i := len(files) - 1; i >= 0; i-- { // the first that names a mirror wins
		if p, err := os.ReadFile(files[i]); err == nil {
			h.readSources(string(p))
		}
	}
	out, err := exec.CommandContext(ctx, "apt-config", "dump", "--format", "%f %v%n").Output()
	if err == nil { // without apt there is nothing to know, and mmdebstrap will say so
		h.readConfig(out)
	}
	return h, nil
}

// readSources looks for mirrors of Debian in a file of sources.list(5), of either form.
func (h *hostAPT) readSources(file string) {
	for line := range strings.Lines(file) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		if !strings.HasPrefix(line, "deb ") && !strings.HasPrefix(strings.ToLower(line), "uris:") {
			continue
		}
		for _, word := range strings.Fields(line) {
			url := strings.TrimSuffix(word, "/")
			switch {
			case !strings.HasPrefix(url, "http://") && !strings.HasPrefix(url, "https://"):
			case strings.HasSuffix(url, "/debian"):
				h.mirror = url
			case strings.HasSuffix(url, "/debian-security"):
				h.security = url
			}
		}
	}
}

// readConfig keeps the options that say how to fetch: proxies and certificates.
func (h *hostAPT) readConfig(dump []byte) {
	for line := range bytes.Lines(dump) {
		name, value, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		lower := strings.ToLower(name)
		if value == "" || strings.ContainsAny(value, "\"\\\n") || strings.Contains(name, "::::") {
			continue
		}
		if strings.HasPrefix(lower, "acquire::http") && (strings.Contains(lower, "proxy") || strings.HasSuffix(lower, "::cainfo") || strings.HasSuffix(lower, "::sslcert") || strings.HasSuffix(lower, "::sslkey")) {
			h.options = append(h.options, name+" \""+value+"\"")
		}
	}
}

// sources are one-line entries of sources.list(5) for a release. Where the host names no
// mirror there are none: mmdebstrap takes the archive that it knows itself.
func (h *hostAPT) sources(suite string) []string {
	if h.mirror == "" {
		return nil
	}
	signed := ""
	if _, err := os.Stat(keyring); err == nil {
		signed = "[signed-by=" + keyring + "] "
	}
	lines := []string{
		"deb " + signed + h.mirror + " " + suite + " main",
		"deb " + signed + h.mirror + " " + suite + "-updates main",
	}
	if h.security != "" {
		lines = append(lines, "deb "+signed+h.security+" "+suite+"-security main")
	}
	return lines
}
