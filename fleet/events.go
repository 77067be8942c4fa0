package fleet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"github.com/gureum/gureum/fleet/state"
)

// Event is something that happened to a machine.
type Event struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	state.Entry
}

// EventRemove is the event of a machine that was removed. No journal has it, as that
// goes with the machine; whoever follows the events is told.
const EventRemove = "remove"

// EventOptions say which events to give.
type EventOptions struct {
	// Since leaves out what was before.
	Since time.Time
	// Follow goes on until ctx ends.
	Follow bool
	// Machine is the id of the only machine to tell of; "" for all.
	Machine string
}

// pollEvents is how often journals are looked at.
const pollEvents = 200 * time.Millisecond

// Events gives what happened, from the journals of all machines, the oldest first.
func (f *Fleet) Events(ctx context.Context, o EventOptions, emit func(Event) error) error {
	r := &eventReader{fleet: f, options: o, journals: map[string]*journalReader{}}
	for {
		events, err := r.next()
		for _, e := range events {
			if err := emit(e); err != nil {
				return err
			}
		}
		if !o.Follow {
			return err // of what could not be read; the others were told of
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pollEvents):
		}
	}
}

// eventReader reads the journals of all machines.
type eventReader struct {
	fleet    *Fleet
	options  EventOptions
	journals map[string]*journalReader
}

// journalReader is how far one journal was read.
type journalReader struct {
	name   string
	offset int64
	seen   bool // in this round
}

// next gives what is new in all journals.
func (r *eventReader) next() ([]Event, error) {
	vms, err := r.fleet.Dirs.VMs()
	errs := []error{err}
	var out []Event
	for _, record := range vms {
		if r.options.Machine != "" && record.ID != r.options.Machine {
			continue
		}
		j := r.journals[record.ID]
		if j == nil {
			j = &journalReader{}
			r.journals[record.ID] = j
		}
		j.name, j.seen = record.Name, true
		entries, err := j.read(r.fleet.Dirs.Journal(record.ID))
		errs = append(errs, err)
		for _, e := range entries {
			if !e.Time.Before(r.options.Since) {
				out = append(out, Event{record.ID, record.Name, e})
			}
		}
	}
	if err == nil {
		out = append(out, r.removed()...)
	}
	slices.SortStableFunc(out, func(a, b Event) int { return a.Time.Compare(b.Time) })
	return out, errors.Join(errs...)
}

// removed tells of machines that are not there any more.
func (r *eventReader) removed() []Event {
	var out []Event
	for id, j := range r.journals {
		if !j.seen {
			out = append(out, Event{id, j.name, state.Entry{Time: time.Now(), Event: EventRemove}})
			delete(r.journals, id)
		}
		j.seen = false
	}
	return out
}

// maxRead bounds what is read of a journal at once, in bytes.
const maxRead = 1 << 20

// read gives the whole lines that are new.
func (j *journalReader) read(path string) ([]state.Entry, error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() < j.offset {
		j.offset = 0
	}
	j.offset = max(j.offset, st.Size()-maxRead)
	text, err := io.ReadAll(io.NewSectionReader(file, j.offset, maxRead))
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	j.offset += int64(len(text))
	return state.ParseJournal(text), err
}
