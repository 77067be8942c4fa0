package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// emulatorEnv names a QEMU to use in place of all others.
const emulatorEnv = "GUREUM_LAB_QEMU"

const emulatorName = "qemu-system-x86_64"

// emulatorFolder is where emulator/build.sh puts the one that it builds, by the number of
// its changes to it.
const emulatorFolder = "qemu-2"

// MendedEmulator gives the path of the QEMU that 'make lab-qemu' built, or "" if there
// is none. The deterministic mode uses it, since Debian's breaks guests there that
// take many interrupts (docs/lab.md).
func MendedEmulator() string {
	if path := os.Getenv(emulatorEnv); path != "" {
		return path
	}
	cache, err := CacheDir()
	if err != nil {
		return ""
	}
	path := filepath.Join(cache, emulatorFolder, "bin", emulatorName)
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// emulatorProgram finds the QEMU for a mode.
func emulatorProgram(deterministic bool) (string, error) {
	if path := os.Getenv(emulatorEnv); path != "" {
		return tool(path)
	}
	if path := MendedEmulator(); deterministic && path != "" {
		return path, nil
	}
	return tool(emulatorName)
}

// tool finds a program that 'make setup' installs.
func tool(name string) (string, error) {
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("%s: not found: run 'make setup'", name)
	}
	return path, err
}
