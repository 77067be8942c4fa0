package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"
)

// Entry is a line of a machine's journal: something that happened to it.
type Entry struct {
	Time  time.Time `json:"time"`
	Event string    `json:"event"`
	// PID is of the machine's process, with EventStart.
	PID int `json:"pid,omitempty"`
	// Stage was reached, with EventStage.
	Stage string `json:"stage,omitempty"`
	// Reason and Status are with EventEnd: how the machine ended, and the exit
	// status of its command or of the machine. Error has details for people.
	Reason string `json:"reason,omitempty"`
	Status *int   `json:"status,omitempty"`
	Error  string `json:"error,omitempty"`
}

// The events of a journal.
const (
	EventCreate  = "create"
	EventStart   = "start"
	EventStage   = "stage"
	EventPause   = "pause"
	EventResume  = "resume"
	EventEnd     = "end"
	EventLost    = "lost" // its process ended without a word
	EventRestart = "restart"
)

// Journal appends to a machine's journal. One process at a time writes to it; a line is
// one write, so a reader sees whole lines, but for the last one of a full disk.
type Journal struct{ file *os.File }

// OpenJournal opens a journal for appending. What a writer that was cut short left
// behind its last whole line is removed.
func OpenJournal(path string) (*Journal, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	end, err := wholeLines(f)
	if err == nil {
		err = f.Truncate(end)
	}
	if err == nil {
		_, err = f.Seek(end, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Journal{f}, nil
}

// wholeLines is where the last line that has an end ends.
func wholeLines(f *os.File) (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	end := st.Size()
	var b [1]byte
	for end > 0 {
		if _, err := f.ReadAt(b[:], end-1); err != nil {
			return 0, err
		}
		if b[0] == '\n' {
			break
		}
		end--
	}
	return end, nil
}

// Add writes an entry, with the time of now if it has none.
func (j *Journal) Add(e Entry) error {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = j.file.Write(append(line, '\n'))
	return err
}

// Close closes the journal.
func (j *Journal) Close() error { return j.file.Close() }

// maxJournal bounds what is read of a journal, from its end, in bytes.
const maxJournal = 1 << 20

// ReadJournal gives the last entries of a journal, the oldest first. One that is not
// there has none.
func ReadJournal(path string) ([]Entry, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	from := max(0, st.Size()-maxJournal)
	text, err := io.ReadAll(io.NewSectionReader(f, from, st.Size()-from))
	if err != nil {
		return nil, err
	}
	return ParseJournal(text), nil
}

// ParseJournal gives the entries of a part of a journal. It skips what is no whole entry:
// the beginning of a line that was cut off, or its end.
func ParseJournal(text []byte) []Entry {
	var out []Entry
	for line := range bytes.Lines(text) {
		var e Entry
		if json.Unmarshal(line, &e) == nil {
			out = append(out, e)
		}
	}
	return out
}
