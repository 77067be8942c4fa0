package bench

import (
	"errors"
	"path/filepath"

	"github.com/gureum/gureum/bench/payload"
	"github.com/gureum/gureum/guest/initramfs"
)

// The files that Prepare makes.
const (
	kernelFile = "vmlinux"
	initrdFile = "initrd"
)

// guestMemory is what each contestant's guest gets, in MiB: room for a RAM disk with fio
// and its libraries.
const guestMemory = 512

// Prepare writes what all guests boot into dir: the embedded kernel, unpacked, and an
// initial RAM disk with the rows to make and the programs for it.
func Prepare(dir string, rows []IORow) error {
	var archive initramfs.Archive
	if err := addTools(&archive); err != nil {
		return err
	}
	programs := map[string][]byte{"bench-io": []byte(initScriptFor(rows))}
	return errors.Join(
		payload.WriteKernel(filepath.Join(dir, kernelFile)),
		payload.WriteInitrd(filepath.Join(dir, initrdFile), &archive, programs))
}
