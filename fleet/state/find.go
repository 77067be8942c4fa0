package state

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// recordKey is what records are found and sorted by.
type recordKey struct {
	id, name string
	created  time.Time
}

// record is a machine or a network.
type record interface{ key() recordKey }

// sortByAge puts the oldest first.
func sortByAge[R record](list []R) {
	slices.SortFunc(list, func(a, b R) int {
		x, y := a.key(), b.key()
		return cmp.Or(x.created.Compare(y.created), strings.Compare(x.id, y.id))
	})
}

// minPrefix is how short the beginning of an id may be.
const minPrefix = 2

// find gives the record that a name, an id or the beginning of one stands for. broken are
// records that could not be read; it may be one of those. There being none is missing.
func find[R record](list []R, broken error, ref string, missing error) (none R, err error) {
	var found []R
	for _, r := range list {
		switch k := r.key(); {
		case k.name == ref, k.id == ref:
			return r, nil
		case len(ref) >= minPrefix && strings.HasPrefix(k.id, ref):
			found = append(found, r)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return none, fmt.Errorf("%w: %d ids begin with %q: give more of it", ErrAmbiguous, len(found), ref)
	case broken != nil:
		return none, broken
	}
	return none, fmt.Errorf("%w: %q", missing, ref)
}
