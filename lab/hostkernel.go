package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// hostKernel is what L1 starts with.
type hostKernel struct {
	boot    string // kernel that QEMU starts
	modules string // module folder, "" when there is none
	initrd  string
	release func() // lets the cache drop it
}

// prepareKernel fetches or finds the kernel that o asks for, and builds its
// initial RAM disk. The caller must call release.
func prepareKernel(ctx context.Context, o Options) (hostKernel, error) {
	cache, err := CacheDir()
	if err != nil {
		return hostKernel{}, err
	}
	s := newStore(cache, o.Log)
	busybox, err := tool("busybox")
	if err != nil {
		return hostKernel{}, err
	}
	var h hostKernel
	var dir string
	if strings.Contains(o.Kernel, "/") {
		h, dir, err = s.fileKernel(o.Kernel)
	} else {
		h, dir, err = s.debianKernel(ctx, o.Kernel)
	}
	if err != nil {
		return hostKernel{}, err
	}
	h.initrd, err = s.initrd(ctx, dir, h.modules, busybox)
	if err != nil {
		h.release()
		return hostKernel{}, err
	}
	return h, nil
}

// debianKernel is a kernel out of a Debian package; dir is its cache folder.
func (s store) debianKernel(ctx context.Context, pattern string) (h hostKernel, dir string, err error) {
	for {
		k, err := s.kernel(ctx, pattern)
		if err != nil {
			return h, "", err
		}
		release, err := k.hold()
		if errors.Is(err, fs.ErrNotExist) {
			continue // pruned just now
		}
		if err != nil {
			return h, "", err
		}
		h = hostKernel{boot: k.vmlinux(), modules: k.Modules(), release: release}
		if _, err := os.Stat(h.boot); err != nil {
			h.boot = k.Vmlinuz()
		}
		return h, k.Dir, nil
	}
}

// fileKernel is a kernel file of the user's, with its modules where 'make
// modules_install' or a package has put them; dir is where its RAM disk goes.
func (s store) fileKernel(path string) (h hostKernel, dir string, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return h, "", err
	}
	sum, err := fileSHA256(path)
	if err != nil {
		return h, "", fmt.Errorf("kernel: %w", err)
	}
	release, err := kernelRelease(path)
	if err != nil {
		return h, "", fmt.Errorf("kernel %s: %w", path, err)
	}
	h = hostKernel{boot: path, modules: findModules(path, release), release: func() {}}
	dir = filepath.Join(s.dir, "files", sum[:16])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return h, "", err
	}
	elf := filepath.Join(dir, "vmlinux")
	if _, err := os.Stat(elf); err == nil || unpackKernel(path, elf) == nil {
		h.boot = elf
	}
	return h, dir, nil
}

// findModules looks for a kernel's modules beside it and on this machine. A
// kernel without any must have all that L1 needs built in.
func findModules(kernel, release string) string {
	for _, root := range []string{filepath.Dir(filepath.Dir(kernel)), "/"} {
		dir := filepath.Join(root, "lib", "modules", release)
		if _, err := os.Stat(filepath.Join(dir, "modules.dep")); err == nil && release != "" {
			return dir
		}
	}
	return ""
}

// Where a bzImage has its magic, and how far behind offset 0x200 its version
// string is (Linux, Documentation/arch/x86/boot.rst).
const (
	offBootMagic     = 0x202
	offKernelVersion = 0x20e
)

// kernelRelease is what uname -r will print: out of a bzImage's header, or
// out of the file's name ("vmlinux-6.1.0-1-amd64").
func kernelRelease(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, 64<<10)
	n, err := f.Read(head)
	if err != nil {
		return "", err
	}
	head = head[:n]
	if len(head) > 0x268 && string(head[offBootMagic:offBootMagic+4]) == "HdrS" {
		at := 0x200 + int(binary.LittleEndian.Uint16(head[offKernelVersion:]))
		if at >= len(head) {
			return "", errors.New("no version in its header")
		}
		release, _, _ := strings.Cut(string(head[at:min(at+256, len(head))]), " ")
		return filepath.Base(release), nil
	}
	if len(head) > 4 && string(head[:4]) == "\x7fELF" {
		_, release, _ := strings.Cut(filepath.Base(path), "-")
		return release, nil
	}
	return "", errors.New("neither a bzImage nor an ELF file")
}
