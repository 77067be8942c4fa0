package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// initScript is the first process of L1.
//
//go:embed init.sh
var initScript string

// bootModules are what L1 needs before it sees this machine's files, and KVM
// itself, which is quicker to load from memory than over the share.
func bootModules() []string {
	return []string{"virtio_pci", "virtio_console", "9p", "9pnet_virtio", "overlay", "kvm-amd"}
}

// initrd returns the path of the initial RAM disk for a kernel with the given
// module folder ("" when all is built in), built into dir at first use. Its
// name carries a hash of its ingredients, so a changed lab builds a new one.
func (s store) initrd(ctx context.Context, dir, moduleDir, busybox string) (string, error) {
	modules, err := moduleFiles(moduleDir, bootModules())
	if err != nil {
		return "", err
	}
	bb, err := fileSHA256(busybox)
	if err != nil {
		return "", err
	}
	key := sha256.Sum256([]byte(strings.Join(append([]string{initScript, bb}, modules...), "\x00")))
	path := filepath.Join(dir, "initrd-"+hex.EncodeToString(key[:8]))
	if whole(path) {
		return path, nil
	}
	unlock, err := lockFile(filepath.Join(s.dir, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if whole(path) { // built while we waited
		return path, nil
	}
	if err := s.buildInitrd(ctx, path, moduleDir, modules, busybox); err != nil {
		return "", fmt.Errorf("build L1's initial RAM disk: %w", err)
	}
	return path, nil
}

// buildInitrd builds the RAM disk beside its place and moves it there, with
// its hash first. The caller holds the lock.
func (s store) buildInitrd(ctx context.Context, path, moduleDir string, modules []string, busybox string) error {
	s.sweep()
	tmp, err := os.MkdirTemp(s.dir, "tmp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	root, image := filepath.Join(tmp, "root"), filepath.Join(tmp, "image")
	if err := fillInitrd(root, moduleDir, modules, busybox); err != nil {
		return err
	}
	if err := packCPIO(ctx, root, image); err != nil {
		return err
	}
	sum, err := fileSHA256(image)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".sha256", []byte(sum+"\n"), 0o644); err != nil {
		return err
	}
	return os.Rename(image, path)
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

// fillInitrd lays out the folder that becomes the RAM disk.
func fillInitrd(root, moduleDir string, modules []string, busybox string) error {
	for _, dir := range []string{"bin", "m", "proc", "sys", "dev", "ro", "rw", "new"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	if err := copyFile(filepath.Join(root, "bin", "busybox"), busybox, 0o755); err != nil {
		return err
	}
	for i, file := range modules {
		// Numbered, so that the shell's own sorting gives the load order.
		name := fmt.Sprintf("%02d-%s", i, filepath.Base(file))
		if err := copyFile(filepath.Join(root, "m", name), filepath.Join(moduleDir, file), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(root, "init"), []byte(initScript), 0o755)
}

func copyFile(dst, src string, mode fs.FileMode) error {
	b, err := os.ReadFile(src)
	if err != nil {
		return err
	}
	return os.WriteFile(dst, b, mode)
}

// packCPIO writes the tree below root as a newc archive.
func packCPIO(ctx context.Context, root, image string) error {
	cpio, err := tool("cpio")
	if err != nil {
		return err
	}
	var list bytes.Buffer
	err = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err == nil {
			list.WriteString(rel + "\n")
		}
		return err
	})
	if err != nil {
		return err
	}
	out, err := os.Create(image)
	if err != nil {
		return err
	}
	defer out.Close()
	var errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, cpio, "-o", "-H", "newc", "-R", "0:0", "--quiet")
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = root, &list, out, &errOut
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cpio: %w: %s", err, lastLine(errOut.Bytes()))
	}
	return out.Close()
}
