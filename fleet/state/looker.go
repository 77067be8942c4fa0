package state

import (
	"errors"
	"os"
)

// Looker looks at the same locks again and again. It keeps the files open of those that are
// held, so that it costs one system call to see that one still is. The zero value is ready;
// it is of one goroutine.
type Looker struct {
	open  map[string]*os.File
	asked map[string]bool
}

// Held is the function of this name.
func (l *Looker) Held(path string) (bool, error) {
	if l.open == nil {
		l.open, l.asked = map[string]*os.File{}, map[string]bool{}
	}
	l.asked[path] = true
	if f := l.open[path]; f != nil {
		if is, err := held(f); is && err == nil {
			return true, nil
		}
		// Nobody holds this file. There may be another one of its name by now.
		if err := l.forget(path); err != nil {
			return false, err
		}
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	is, err := held(f)
	if is && err == nil {
		l.open[path] = f
		return true, nil
	}
	return false, errors.Join(err, f.Close())
}

// Sweep closes the files of locks that were not asked for since the last Sweep.
func (l *Looker) Sweep() error {
	var errs []error
	for path := range l.open {
		if !l.asked[path] {
			errs = append(errs, l.forget(path))
		}
	}
	clear(l.asked)
	return errors.Join(errs...)
}

// Close closes all files.
func (l *Looker) Close() error {
	clear(l.asked)
	return l.Sweep()
}

func (l *Looker) forget(path string) error {
	f := l.open[path]
	delete(l.open, path)
	return f.Close()
}
