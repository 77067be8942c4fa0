package state

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
)

// IDLength is the length of a machine's id, in hexadecimal digits; NetworkIDLength of a
// network's, which is part of an interface's name.
const (
	IDLength        = 12
	NetworkIDLength = 8
)

// NewID makes an id of n digits that begins with a letter or digit at random. One that
// reads as a decimal number is not made, as it would look like a size or a count.
func NewID(n int) string {
	b := make([]byte, n/2)
	for {
		_, _ = rand.Read(b) // never fails
		id := hex.EncodeToString(b)
		for _, c := range id {
			if c >= 'a' {
				return id
			}
		}
	}
}

const maxName = 63

// CheckName accepts DNS labels (RFC 1123, section 2.1) in lower case, as a name is part of
// the names that the network's service answers for.
func CheckName(kind, name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("%s name %q: give 1 to %d characters", kind, name, maxName)
	}
	for i, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
		case r == '-' && i > 0 && i < len(name)-1:
		default:
			return fmt.Errorf("%s name %q: use small letters, digits and inner hyphens", kind, name)
		}
	}
	return nil
}
