// Package dump lists what the kernel has, whole.
package dump

import (
	"errors"
	"time"

	"github.com/vishvananda/netlink"
)

// tries and pause bound how often a list is asked for that changes all the time.
const (
	tries = 50
	pause = 5 * time.Millisecond
)

// Whole calls list again when the kernel says that what it lists changed meanwhile
// (NLM_F_DUMP_INTR of netlink(7)), so that entries may be missing. On a host where
// machines come and go that is nothing unusual.
func Whole[T any](list func() (T, error)) (T, error) {
	for n := 1; ; n++ {
		all, err := list()
		if n == tries || !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
		time.Sleep(pause)
	}
}
