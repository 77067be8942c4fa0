package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// manifestName is the file in a kernel's cache folder that says what is in it.
const manifestName = "lab-manifest"

// writeManifest records the package and the hashes of the files that L1
// cannot start without.
func writeManifest(root string, p aptPackage, release string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "package %s\nversion %s\nsha256 %s\nrelease %s\n", p.Name, p.Version, p.SHA256, release)
	for _, rel := range checkedFiles(release) {
		sum, err := fileSHA256(filepath.Join(root, rel))
		if err != nil {
			return fmt.Errorf("package %s: %w", p.Name, err)
		}
		fmt.Fprintf(&b, "file %s %s\n", sum, rel)
	}
	return os.WriteFile(filepath.Join(root, manifestName), []byte(b.String()), 0o644)
}

// checkedFiles are the files whose hashes are checked at every use.
func checkedFiles(release string) []string {
	return []string{
		filepath.Join("boot", "vmlinuz-"+release),
		filepath.Join("lib", "modules", release, "modules.dep"),
		filepath.Join("lib", "modules", release, "modules.dep.bin"),
	}
}

// open returns a cached kernel after checking that it is whole.
func (s store) open(name, version string) (Kernel, error) {
	dir := s.path(name, version)
	text, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return Kernel{}, err
	}
	k := Kernel{Package: name, Version: version, Dir: dir}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		switch {
		case len(f) == 2 && f[0] == "release":
			k.Release = f[1]
		case len(f) == 3 && f[0] == "file":
			sum, err := fileSHA256(filepath.Join(dir, f[2]))
			if err != nil {
				return Kernel{}, err
			}
			if sum != f[1] {
				return Kernel{}, fmt.Errorf("cached %s: damaged", filepath.Join(dir, f[2]))
			}
		}
	}
	if k.Release == "" {
		return Kernel{}, fmt.Errorf("cached %s: no release in its manifest", dir)
	}
	return k, nil
}

// pattern file: "<package> <version>", newer than the package lists as long
// as it need not be looked up again.
func (s store) patternFile(pattern string) string {
	clean := strings.NewReplacer("/", "%2F", "%", "%25").Replace(pattern)
	return filepath.Join(s.dir, "pattern-"+clean)
}

// remember records which kernel a pattern stands for.
func (s store) remember(pattern string, k Kernel) error {
	path := s.patternFile(pattern)
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(k.Package+" "+k.Version+"\n"), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// remembered returns the kernel that pattern stood for, unless the package
// lists have changed since or the cached kernel is damaged.
func (s store) remembered(pattern string) (Kernel, bool) {
	seen, err := os.Stat(s.patternFile(pattern))
	if err != nil {
		return Kernel{}, false
	}
	if lists, err := os.Stat(s.lists); err == nil && lists.ModTime().After(seen.ModTime()) {
		return Kernel{}, false
	}
	return s.stale(pattern)
}

// stale is remembered, however old the memory is.
func (s store) stale(pattern string) (Kernel, bool) {
	text, err := os.ReadFile(s.patternFile(pattern))
	if err != nil {
		return Kernel{}, false
	}
	f := strings.Fields(string(text))
	if len(f) != 2 {
		return Kernel{}, false
	}
	k, err := s.open(f[0], f[1])
	return k, err == nil
}
