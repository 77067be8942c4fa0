package dump

import (
	"errors"
	"fmt"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestWhole(t *testing.T) {
	other := errors.New("other")
	for _, tt := range []struct {
		interrupted int // times, before last is returned
		last, want  error
		calls       int
	}{
		{0, nil, nil, 1},
		{3, nil, nil, 4},
		{1, other, other, 2},
		{tries + 5, nil, netlink.ErrDumpInterrupted, tries},
	} {
		calls := 0
		got, err := Whole(func() (int, error) {
			if calls++; calls <= tt.interrupted {
				return calls, fmt.Errorf("list: %w", netlink.ErrDumpInterrupted)
			}
			return calls, tt.last
		})
		if got != tt.calls || !errors.Is(err, tt.want) || err == nil != (tt.want == nil) {
			t.Errorf("%d times interrupted: %d calls, %v", tt.interrupted, got, err)
		}
	}
}
