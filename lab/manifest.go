package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// manifestName is the file in a kernel's cache folder that says what is in it.
const manifestName = "lab-manifest"

// manifestVersion is its first line. Change it to have all kernels unpacked
// anew.
const manifestVersion = "gureum-lab 2"

// writeManifest records the package, the hashes of the files that L1 cannot
// start without, and the size of all its modules together.
func writeManifest(k Kernel, p aptPackage) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\npackage %s\nversion %s\nsha256 %s\nrelease %s\n", manifestVersion, p.Name, p.Version, p.SHA256, k.Release)
	for _, path := range []string{
		k.Vmlinuz(), k.vmlinux(),
		filepath.Join(k.Modules(), "modules.dep"), filepath.Join(k.Modules(), "modules.dep.bin"),
	} {
		sum, err := fileSHA256(path)
		if errors.Is(err, fs.ErrNotExist) && path == k.vmlinux() {
			continue
		}
		if err != nil {
			return fmt.Errorf("package %s: %w", p.Name, err)
		}
		rel, err := filepath.Rel(k.Dir, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "file %s %s\n", sum, rel)
	}
	size, err := treeSize(k.Modules())
	if err != nil {
		return err
	}
	fmt.Fprintf(&b, "modules %d\n", size)
	return os.WriteFile(filepath.Join(k.Dir, manifestName), []byte(b.String()), 0o644)
}

// treeSize adds up the sizes of the files below dir, in bytes.
func treeSize(dir string) (int64, error) {
	var size int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		st, err := d.Info()
		if err == nil {
			size += st.Size()
		}
		return err
	})
	return size, err
}

// errDamaged means that a cached kernel is not what was put there.
var errDamaged = errors.New("damaged")

// open returns a cached kernel after checking that it is whole.
func (s store) open(name, version string) (Kernel, error) {
	dir := s.path(name, version)
	text, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return Kernel{}, err
	}
	if !strings.HasPrefix(string(text), manifestVersion+"\n") {
		return Kernel{}, fmt.Errorf("cached %s: %w", dir, errDamaged)
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
				return Kernel{}, fmt.Errorf("cached %s: %w", filepath.Join(dir, f[2]), errDamaged)
			}
		case len(f) == 2 && f[0] == "modules":
			size, err := treeSize(k.Modules())
			if err != nil {
				return Kernel{}, err
			}
			if strconv.FormatInt(size, 10) != f[1] {
				return Kernel{}, fmt.Errorf("cached %s: %w", k.Modules(), errDamaged)
			}
		}
	}
	if k.Release == "" {
		return Kernel{}, fmt.Errorf("cached %s: %w", dir, errDamaged)
	}
	return k, nil
}

// hold keeps a kernel from being pruned until the returned function is
// called, or this process ends.
func (k Kernel) hold() (release func(), err error) {
	path := filepath.Join(k.Dir, manifestName)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_SH); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := os.Stat(path); err != nil { // pruned while we waited
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// prune removes kernels that no pattern stands for any more and that no lab
// runs. The caller holds the store's lock.
func (s store) prune() {
	wanted := map[string]bool{}
	patterns, _ := filepath.Glob(filepath.Join(s.dir, "pattern-*"))
	for _, path := range patterns {
		text, err := os.ReadFile(path)
		if f := strings.Fields(string(text)); err == nil && len(f) == 2 {
			wanted[s.path(f[0], f[1])] = true
		}
	}
	dirs, _ := filepath.Glob(filepath.Join(s.dir, "kernels", "*"))
	for _, dir := range dirs {
		if wanted[dir] {
			continue
		}
		f, err := os.Open(filepath.Join(dir, manifestName))
		if err != nil {
			os.RemoveAll(dir)
			continue
		}
		if flock(f, unix.LOCK_EX|unix.LOCK_NB) == nil {
			os.RemoveAll(dir)
		}
		f.Close()
	}
}

// patternFile holds "<package> <version>", and is newer than the package lists
// as long as the pattern need not be looked up again.
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
