package state

import (
	"errors"
	"io"
	"os"
	"sync"
)

// LogSize is how large a log gets before the older half of it is dropped, in bytes.
const LogSize = 4 << 20

// Log is what a machine writes, bounded: two files, NAME and NAME.1, that are filled in
// turn. Both are open from the beginning, so a process that sees no folder any more can
// go on writing. It is safe for several goroutines.
type Log struct {
	mu    sync.Mutex
	files [2]*os.File
	turn  int
	size  int64
	err   error
}

// OpenLog opens a log for appending.
func OpenLog(path string) (*Log, error) {
	l := &Log{}
	for i, name := range [2]string{path, path + ".1"} {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		l.files[i] = f
	}
	var err error
	l.turn, l.size, err = newer(l.files)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// newer tells which of the two files is being written, and its size: the one that is
// not full. When a writer died between filling one and emptying the other, both are,
// and the one that was written later is.
func newer(files [2]*os.File) (turn int, size int64, err error) {
	var st [2]os.FileInfo
	for i, f := range files {
		if st[i], err = f.Stat(); err != nil {
			return 0, 0, err
		}
	}
	full := [2]bool{st[0].Size() >= LogSize/2, st[1].Size() >= LogSize/2}
	if full[0] && (!full[1] || st[1].ModTime().After(st[0].ModTime())) {
		turn = 1
	}
	return turn, st[turn].Size(), nil
}

// Write implements io.Writer. A log that cannot be written, as of a full disk, loses
// what came, and the machine goes on.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.files[l.turn].Write(p)
	l.size += int64(n)
	if err == nil && l.size >= LogSize/2 {
		l.turn ^= 1
		l.size = 0
		err = l.files[l.turn].Truncate(0)
	}
	if err != nil {
		l.err = err
	}
	return len(p), nil
}

// Close closes the log and tells the first fault of writing it.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	errs := []error{l.err}
	for _, f := range l.files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// ReadLog copies a log, the oldest first, and tells where its end is, for FollowLog.
func ReadLog(path string, w io.Writer) (LogPosition, error) {
	var files [2]*os.File
	for i, name := range [2]string{path, path + ".1"} {
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			f, err = os.Open(os.DevNull)
		}
		if err != nil {
			return LogPosition{}, err
		}
		defer f.Close()
		files[i] = f
	}
	turn, _, err := newer(files)
	if err != nil {
		return LogPosition{}, err
	}
	if _, err := io.Copy(w, files[turn^1]); err != nil {
		return LogPosition{}, err
	}
	n, err := io.Copy(w, files[turn])
	return LogPosition{turn, n}, err
}

// LogPosition is a place in a log.
type LogPosition struct {
	turn   int
	offset int64
}

// FollowLog copies what came since a position, and moves it.
func FollowLog(path string, w io.Writer, at LogPosition) (LogPosition, error) {
	for {
		name := path
		if at.turn == 1 {
			name += ".1"
		}
		n, err := copyFrom(name, w, at.offset)
		at.offset += n
		if err != nil || at.offset < LogSize/2 {
			return at, err
		}
		at = LogPosition{at.turn ^ 1, 0} // this one is full
		if n == 0 {
			return at, nil
		}
	}
}

func copyFrom(name string, w io.Writer, offset int64) (int64, error) {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return 0, err
	}
	return io.Copy(w, f)
}
