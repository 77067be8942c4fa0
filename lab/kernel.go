package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// defaultKernel is the metapackage whose kernel runs L1: the flavour that is
// not for clouds, because it has 9p.
const defaultKernel = "linux-image-amd64"

// Kernel is a Debian kernel package unpacked in the cache.
type Kernel struct {
	// Package and Version name the Debian package.
	Package, Version string
	// Release is what uname -r prints, and the name of the module folder.
	Release string
	// Dir is the unpacked package: Dir/boot/vmlinuz-Release and
	// Dir/lib/modules/Release.
	Dir string
}

// Vmlinuz is the path of the kernel image as Debian ships it.
func (k Kernel) Vmlinuz() string { return filepath.Join(k.Dir, "boot", "vmlinuz-"+k.Release) }

// vmlinux is where the unpacked kernel is kept, if it could be unpacked.
func (k Kernel) vmlinux() string { return filepath.Join(k.Dir, "boot", "vmlinux-"+k.Release) }

// Modules is the path of the kernel's module folder.
func (k Kernel) Modules() string { return filepath.Join(k.Dir, "lib", "modules", k.Release) }

// FetchKernel returns the newest Debian kernel whose package name matches
// pattern (path.Match; a metapackage stands for the kernel it depends on),
// from the cache or else from the archive. What it does is told on log.
func FetchKernel(ctx context.Context, pattern string, log io.Writer) (Kernel, error) {
	cache, err := CacheDir()
	if err != nil {
		return Kernel{}, err
	}
	return newStore(cache, log).kernel(ctx, pattern)
}

// store is the cache of kernels: one folder a package version, and one small
// file a pattern that says which version it stood for when last looked up.
type store struct {
	dir   string
	apt   apt
	lists string // apt's folder of package lists
}

func newStore(dir string, log io.Writer) store {
	return store{dir: dir, apt: apt{log: log}, lists: "/var/lib/apt/lists"}
}

// kernel finds or fetches the kernel that pattern stands for.
func (s store) kernel(ctx context.Context, pattern string) (Kernel, error) {
	if err := os.MkdirAll(filepath.Join(s.dir, "kernels"), 0o755); err != nil {
		return Kernel{}, fmt.Errorf("make the kernel cache: %w", err)
	}
	if k, ok := s.remembered(pattern); ok {
		return k, nil
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return Kernel{}, err
	}
	defer unlock()
	if k, ok := s.remembered(pattern); ok { // fetched while we waited
		return k, nil
	}
	k, err := s.fetch(ctx, pattern)
	if err != nil {
		if old, ok := s.stale(pattern); ok && ctx.Err() == nil {
			fmt.Fprintf(s.apt.log, "lab: %v: keeping the cached %s %s\n", err, old.Package, old.Version)
			return old, nil
		}
		return Kernel{}, fmt.Errorf("kernel %s: %w", pattern, err)
	}
	if err := s.remember(pattern, k); err != nil {
		return Kernel{}, err
	}
	s.prune()
	return k, nil
}

// fetch looks the pattern up in the archive and unpacks what it stands for.
// Lists that are missing or name a version that has vanished are refreshed
// once.
func (s store) fetch(ctx context.Context, pattern string) (Kernel, error) {
	k, err := s.fetchOnce(ctx, pattern)
	if err == nil || ctx.Err() != nil || !errors.Is(err, errLists) {
		return k, err
	}
	if uerr := s.apt.update(ctx); uerr != nil {
		return Kernel{}, errors.Join(err, fmt.Errorf("refresh the package lists: %w: run 'apt-get update' as root", uerr))
	}
	return s.fetchOnce(ctx, pattern)
}

func (s store) fetchOnce(ctx context.Context, pattern string) (Kernel, error) {
	p, err := s.resolve(ctx, pattern)
	if err != nil {
		return Kernel{}, err
	}
	if k, err := s.open(p.Name, p.Version); err == nil {
		return k, nil
	}
	return s.build(ctx, p)
}

// resolve finds the concrete package behind a pattern or a metapackage.
func (s store) resolve(ctx context.Context, pattern string) (aptPackage, error) {
	p, err := s.apt.newest(ctx, pattern)
	if err != nil {
		return aptPackage{}, err
	}
	for dep := range strings.SplitSeq(p.Depends, ",") {
		name, _, _ := strings.Cut(strings.TrimSpace(dep), " ")
		if strings.HasPrefix(name, "linux-image-") {
			return s.apt.newest(ctx, name)
		}
	}
	return p, nil
}

// path is the folder of a package version.
func (s store) path(name, version string) string {
	return filepath.Join(s.dir, "kernels", name+"_"+strings.ReplaceAll(version, "/", "_"))
}

// build downloads, checks and unpacks a package beside its place, and moves
// it there as the last step, so that a cache folder is whole or absent.
func (s store) build(ctx context.Context, p aptPackage) (Kernel, error) {
	s.sweep()
	tmp, err := os.MkdirTemp(s.dir, "tmp-")
	if err != nil {
		return Kernel{}, err
	}
	defer os.RemoveAll(tmp)
	deb, err := s.apt.download(ctx, tmp, p)
	if err != nil {
		return Kernel{}, err
	}
	root := filepath.Join(tmp, "root")
	if _, err := s.apt.run(ctx, "", "dpkg", "-x", deb, root); err != nil {
		return Kernel{}, err
	}
	if err := os.Chmod(root, 0o755); err != nil {
		return Kernel{}, err
	}
	release, err := releaseIn(root)
	if err != nil {
		return Kernel{}, fmt.Errorf("package %s: %w", p.Name, err)
	}
	if _, err := s.apt.run(ctx, "", "depmod", "-b", root, release); err != nil {
		return Kernel{}, err
	}
	// What cannot be unpacked here unpacks itself, slowly.
	k := Kernel{Release: release, Dir: root}
	if err := unpackKernel(k.Vmlinuz(), k.vmlinux()); err != nil && ctx.Err() != nil {
		return Kernel{}, ctx.Err()
	}
	if err := writeManifest(k, p); err != nil {
		return Kernel{}, err
	}
	dst := s.path(p.Name, p.Version)
	if err := os.RemoveAll(dst); err != nil { // a damaged one
		return Kernel{}, err
	}
	if err := os.Rename(root, dst); err != nil {
		return Kernel{}, err
	}
	return s.open(p.Name, p.Version)
}

// sweep removes what a killed build has left. The caller holds the lock.
func (s store) sweep() {
	left, _ := filepath.Glob(filepath.Join(s.dir, "tmp-*"))
	for _, dir := range left {
		os.RemoveAll(dir)
	}
}

// releaseIn names the one kernel below an unpacked package.
func releaseIn(root string) (string, error) {
	images, err := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return "", fmt.Errorf("expected one boot/vmlinuz-*, found %d: is it a concrete kernel package?", len(images))
	}
	return strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-"), nil
}
