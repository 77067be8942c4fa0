package lab

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gureum/gureum/guest/initramfs"
)

// initScript is the first process of L1.
//
//go:embed init.sh
var initScript string

// initrdVersion changes when the RAM disk is built in another way.
const initrdVersion = 2

// moduleGroup is a folder of modules in the RAM disk. L1 loads the groups at
// the same time.
type moduleGroup struct {
	dir   string
	files []string // below the kernel's module folder, in the order to load
}

// bootModules are what L1 needs before it sees this machine's files, and KVM
// itself, which is quicker to load from memory than over the share.
func bootModules(dir string) ([]moduleGroup, error) {
	boot, err := moduleFiles(dir, []string{"virtio_pci", "virtio_console", "9p", "9pnet_virtio", "overlay"})
	if err != nil {
		return nil, err
	}
	kvm, err := moduleFiles(dir, []string{"kvm-amd"})
	return []moduleGroup{{"boot", boot}, {"kvm", kvm}}, err
}

// initrd returns the path of the initial RAM disk for a kernel with the given
// module folder ("" when all is built in), built into dir at first use. Its
// name carries a hash of its ingredients, so a changed lab builds a new one.
func (s store) initrd(ctx context.Context, dir, moduleDir, busybox string) (string, error) {
	groups, err := bootModules(moduleDir)
	if err != nil {
		return "", err
	}
	bb, err := fileSHA256(busybox)
	if err != nil {
		return "", err
	}
	key := sha256.New()
	fmt.Fprintf(key, "%d %q %s %q", initrdVersion, initScript, bb, groups)
	path := filepath.Join(dir, "initrd-"+hex.EncodeToString(key.Sum(nil)[:8]))
	if whole(path) {
		return path, nil
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	if whole(path) { // built while we waited
		return path, nil
	}
	if err := s.buildInitrd(path, moduleDir, groups, busybox); err != nil {
		return "", fmt.Errorf("build L1's initial RAM disk: %w", err)
	}
	return path, nil
}

// buildInitrd builds the RAM disk beside its place and moves it there, with
// its hash first. The caller holds the lock.
func (s store) buildInitrd(path, moduleDir string, groups []moduleGroup, busybox string) error {
	var a initramfs.Archive
	for _, dir := range []string{"dev", "new", "proc", "ro", "rw", "sys"} {
		a.Dir(dir, initramfs.Attr{Mode: 0o755})
	}
	a.File("init", initramfs.Attr{Mode: 0o755}, []byte(initScript))
	a.HostFile("bin/busybox", initramfs.Attr{Mode: 0o755}, busybox)
	for _, g := range groups {
		for i, file := range g.files {
			name, module, err := readModule(filepath.Join(moduleDir, file))
			if err != nil {
				return err
			}
			// Numbered, so that the shell's own sorting gives the load order.
			a.File(fmt.Sprintf("%s/%02d-%s", g.dir, i, name), initramfs.Attr{Mode: 0o644}, module)
		}
	}
	s.sweep()
	tmp, err := os.CreateTemp(s.dir, "tmp-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if _, err := a.WriteTo(tmp); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	sum, err := fileSHA256(tmp.Name())
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".sha256", []byte(sum+"\n"), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// whole says whether a file has the hash recorded beside it.
func whole(path string) bool {
	want, err := os.ReadFile(path + ".sha256")
	if err != nil {
		return false
	}
	sum, err := fileSHA256(path)
	return err == nil && sum == strings.TrimSpace(string(want))
}

// moduleFiles resolves module names to files below dir in the order in which
// they must be loaded, from modules.dep. A name that has no file is built
// into the kernel or absent, and is left out.
func moduleFiles(dir string, names []string) ([]string, error) {
	if dir == "" {
		return nil, nil
	}
	text, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("read the module list: %w", err)
	}
	deps := map[string][]string{} // module name to its file, then what it needs
	for line := range strings.Lines(string(text)) {
		file, needs, ok := strings.Cut(line, ":")
		if ok {
			deps[moduleName(file)] = append([]string{file}, strings.Fields(needs)...)
		}
	}
	var order []string
	seen := map[string]bool{}
	for _, name := range names {
		files := deps[strings.ReplaceAll(name, "-", "_")]
		// modules.dep lists the nearest need first; load the farthest first.
		for i := len(files) - 1; i >= 0; i-- {
			if !seen[files[i]] {
				seen[files[i]] = true
				order = append(order, files[i])
			}
		}
	}
	return order, nil
}

// moduleName is a module's name as the kernel has it.
func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}
