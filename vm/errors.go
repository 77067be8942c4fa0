package vm

import (
	"errors"
	"fmt"
)

// InputError is a fault in what the user asked for. It is found before the
// host is looked at and before anything is created.
type InputError struct{ Err error }

func (e *InputError) Error() string { return e.Err.Error() }

// Unwrap gives the error below.
func (e *InputError) Unwrap() error { return e.Err }

func inputErrorf(format string, args ...any) error {
	return &InputError{Err: fmt.Errorf(format, args...)}
}

// HostError says that this host cannot run the machine that was asked for.
type HostError struct{ Err error }

func (e *HostError) Error() string { return e.Err.Error() }

// Unwrap gives the error below.
func (e *HostError) Unwrap() error { return e.Err }

func hostErrorf(format string, args ...any) error {
	return &HostError{Err: fmt.Errorf(format, args...)}
}

// StateError says that a call does not fit the machine's state.
type StateError struct {
	Call  string
	State State
}

func (e *StateError) Error() string {
	return fmt.Sprintf("%s: the machine is %s", e.Call, e.State)
}

// ErrStopped is the cause in an Outcome that Stop brought about.
var ErrStopped = errors.New("stopped by request")
