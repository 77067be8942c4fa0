package state

import (
	"time"
)

// Status is what a machine is now.
type Status struct {
	Phase Phase `json:"phase"`
	// PID is of its process, while it lives.
	PID int `json:"pid,omitempty"`
	// Stage is how far its guest has come since it started.
	Stage Stage `json:"stage,omitempty"`
	// Started and Ended are of the last run.
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	// Reason and ExitStatus tell how the last run ended, Error has details.
	Reason     string `json:"reason,omitempty"`
	ExitStatus *int   `json:"exit_status,omitempty"`
	Error      string `json:"error,omitempty"`
}

// StatusKilled is the exit status of a machine that was killed: 128 + SIGKILL, as a shell
// reports it.
const StatusKilled = 137

// Status is the exit status of the last run, as wait prints it.
func (s Status) Status() int {
	switch {
	case s.ExitStatus != nil:
		return *s.ExitStatus
	case s.Phase == Lost:
		return StatusKilled
	}
	return 0
}

// Phase is where a machine is in its life.
type Phase string

// The phases. A machine is Lost when its process ended without a word: it was killed,
// or the host went down.
const (
	Created Phase = "created"
	Running Phase = "running"
	Paused  Phase = "paused"
	Exited  Phase = "exited"
	Lost    Phase = "lost"
)

// Stage is how far a guest has come.
type Stage string

// The stages, in their order.
const (
	StageKernel Stage = "kernel" // its virtual CPUs run
	StageAgent  Stage = "agent"  // its agent answers
)

// Status reads what a machine is, from its lock and its journal. It never waits.
func (d Dirs) Status(id string) (Status, error) {
	alive, err := Held(d.Alive(id))
	if err != nil {
		return Status{}, err
	}
	entries, err := ReadJournal(d.Journal(id))
	if err != nil {
		return Status{}, err
	}
	return statusOf(alive, entries), nil
}

// statusOf follows a journal to its end.
func statusOf(alive bool, entries []Entry) Status {
	s := Status{Phase: Created}
	for _, e := range entries {
		switch e.Event {
		case EventStart:
			s = Status{Phase: Running, PID: e.PID, Started: e.Time}
		case EventStage:
			s.Stage = Stage(e.Stage)
		case EventPause:
			s.Phase = Paused
		case EventResume:
			s.Phase = Running
		case EventEnd, EventLost:
			s.Phase, s.Ended, s.Reason, s.ExitStatus, s.Error = Exited, e.Time, e.Reason, e.Status, e.Error
			if e.Event == EventLost {
				s.Phase = Lost
			}
		}
	}
	up := s.Phase == Running || s.Phase == Paused
	switch {
	case !alive && up:
		s.Phase = Lost
		s.Reason = "its process was killed, or the host went down"
	case alive && !up:
		// Its process is about to say that it has started, or has said that it ends.
		s.Phase = Running
	}
	if !alive {
		s.PID = 0
	}
	return s
}
