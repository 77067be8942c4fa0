package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// aptPackage is one concrete version of a Debian binary package, as the
// package lists of this machine describe it.
type aptPackage struct {
	Name    string
	Version string
	SHA256  string
	Depends string
}

// errLists marks what newer package lists may mend: they know no such package,
// or one that has vanished from the archive.
var errLists = errors.New("package lists out of date")

// errNotInLists means that the package lists know no such package.
var errNotInLists = fmt.Errorf("%w: no such package", errLists)

// apt is the Debian package client. Log receives what the client prints.
type apt struct{ log io.Writer }

// run starts one client command and returns its standard output.
func (a apt) run(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, fmt.Errorf("%s: not found: the lab prepares its kernels with Debian's own tools: run 'make setup'", name)
		}
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, lastLine(errOut.Bytes()))
	}
	return out.Bytes(), nil
}

// update refreshes the package lists.
func (a apt) update(ctx context.Context) error {
	fmt.Fprintln(a.log, "lab: refreshing the package lists (apt-get update)")
	_, err := a.run(ctx, "", "apt-get", "-q", "update")
	return err
}

// show returns the candidate version of each named package that is known.
func (a apt) show(ctx context.Context, names ...string) ([]aptPackage, error) {
	args := append([]string{"show", "--no-all-versions"}, names...)
	out, err := a.run(ctx, "", "apt-cache", args...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotInLists, err)
	}
	return parseShow(out), nil
}

// names lists the packages whose name matches a pattern (path.Match).
func (a apt) names(ctx context.Context, pattern string) ([]string, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, fmt.Errorf("package pattern %q: %w", pattern, err)
	}
	prefix, _, _ := strings.Cut(pattern, "*")
	if i := strings.IndexAny(prefix, `?[\`); i >= 0 {
		prefix = prefix[:i]
	}
	out, err := a.run(ctx, "", "apt-cache", "pkgnames", prefix)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range strings.Fields(string(out)) {
		if ok, _ := path.Match(pattern, name); ok {
			names = append(names, name)
		}
	}
	return names, nil
}

// newest returns the package with the highest version whose name matches.
func (a apt) newest(ctx context.Context, pattern string) (aptPackage, error) {
	names, err := a.names(ctx, pattern)
	if err != nil {
		return aptPackage{}, err
	}
	if len(names) == 0 {
		return aptPackage{}, fmt.Errorf("package %s: %w", pattern, errNotInLists)
	}
	found, err := a.show(ctx, names...)
	if err != nil {
		return aptPackage{}, fmt.Errorf("package %s: %w", pattern, err)
	}
	var best aptPackage
	for _, p := range found {
		// Among flavours of one version the plainest: the shortest name.
		c := compareVersions(p.Version, best.Version)
		if best.Name == "" || c > 0 || c == 0 && len(p.Name) < len(best.Name) {
			best = p
		}
	}
	return best, nil
}

// download fetches one concrete package into dir, checks it against the hash
// in the package lists, and returns the file's path.
func (a apt) download(ctx context.Context, dir string, p aptPackage) (string, error) {
	fmt.Fprintf(a.log, "lab: fetching %s %s\n", p.Name, p.Version)
	// As root the client would drop to user _apt, who may not write here.
	_, err := a.run(ctx, dir, "apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", p.Name+"="+p.Version)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errLists, err)
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(debs) != 1 {
		return "", fmt.Errorf("download %s: expected one package file in %s, found %d", p.Name, dir, len(debs))
	}
	sum, err := fileSHA256(debs[0])
	if err != nil {
		return "", err
	}
	if p.SHA256 == "" || sum != p.SHA256 {
		return "", fmt.Errorf("download %s %s: %w: its SHA-256 is %s, the lists say %q", p.Name, p.Version, errLists, sum, p.SHA256)
	}
	return debs[0], nil
}

// parseShow reads the stanzas that 'apt-cache show' prints.
func parseShow(out []byte) []aptPackage {
	var list []aptPackage
	for stanza := range strings.SplitSeq(string(out), "\n\n") {
		var p aptPackage
		for line := range strings.SplitSeq(stanza, "\n") {
			key, value, ok := strings.Cut(line, ": ")
			if !ok {
				continue
			}
			switch key {
			case "Package":
				p.Name = value
			case "Version":
				p.Version = value
			case "SHA256":
				p.SHA256 = value
			case "Depends":
				p.Depends = value
			}
		}
		if p.Name != "" && p.Version != "" {
			list = append(list, p)
		}
	}
	return list
}

// lastLine returns the last line with something on it.
func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}
