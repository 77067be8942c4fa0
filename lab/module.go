package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/therootcompany/xz"
)

// maxModule bounds what a module may unpack to, in bytes.
const maxModule = 64 << 20

// readModule reads a module for L1's RAM disk: unpacked, and without its
// signature, which would take L1 more than a quarter of its boot to check.
// What it is was checked along with its package.
func readModule(path string) (name string, b []byte, err error) {
	name = filepath.Base(path)
	b, err = os.ReadFile(path)
	if err != nil {
		return "", nil, err
	}
	if plain, ok := strings.CutSuffix(name, ".xz"); ok {
		name = plain
		r, err := xz.NewReader(bytes.NewReader(b), 0)
		if err != nil {
			return "", nil, fmt.Errorf("module %s: %w", path, err)
		}
		b, err = io.ReadAll(io.LimitReader(r, maxModule))
		if err != nil {
			return "", nil, fmt.Errorf("module %s: %w", path, err)
		}
	}
	return name, unsigned(b), nil
}

// How a signed module ends (Linux, include/linux/module_signature.h).
const (
	signatureMagic = "~Module signature appended~\n"
	signatureInfo  = 12 // bytes ahead of the magic; the last four are a length
)

// unsigned cuts a module's signature off.
func unsigned(module []byte) []byte {
	body, ok := bytes.CutSuffix(module, []byte(signatureMagic))
	if !ok || len(body) < signatureInfo {
		return module
	}
	size := uint64(binary.BigEndian.Uint32(body[len(body)-4:]))
	body = body[:len(body)-signatureInfo]
	if size > uint64(len(body)) {
		return module
	}
	return body[:uint64(len(body))-size]
}
