package devices

import "errors"

// ErrBadState means that a saved state cannot be one of the device it is restored
// into. States come from files, so Restore takes nothing on trust.
var ErrBadState = errors.New("bad device state")
