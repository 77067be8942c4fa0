package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/fleet/vmm"
	"github.com/gureum/gureum/vm"
)

// ProcessCommand is the hidden command of the program that runs a machine's process:
//
//	gureum vmm ID [--leash] [--shares N] QUEUES...
//
// with one number for each interface on a network, the count of its queues. Its
// descriptors are the lock that says that it lives, the pipe for its report, the leash,
// the queues and the shared folders, from FirstFile up.
const (
	ProcessCommand = "vmm"
	LeashFlag      = "--leash"
	SharesFlag     = "--shares"
	FirstFile      = 3
)

// StartOptions say how to start a machine.
type StartOptions struct {
	// Leash, if it is not nil, is the reading end of a pipe: the machine ends when the
	// last writer is gone, as it is when the process that wants the machine dies.
	Leash *os.File
}

// Start starts a machine. When it returns without error the machine's first instruction
// ran. Errors in what the user asked for are *vm.InputError, those of the host
// *vm.HostError.
func (f *Fleet) Start(ctx context.Context, ref string, o StartOptions) error {
	return f.withMachine(ctx, ref, func(m *Machine) error {
		if alive(m.Status) {
			return fmt.Errorf("%s: %w already", m.Name, ErrRunning)
		}
		m.Want, m.Restarts = state.WantRunning, 0
		if err := f.Dirs.PutVM(m.VM); err != nil {
			return err
		}
		if err := f.launch(ctx, m.VM, o); err != nil {
			m.Want = state.WantStopped
			return errors.Join(err, f.Dirs.PutVM(m.VM))
		}
		return f.ensureSupervisor()
	})
}

// launch starts the machine's process and waits for its report. The machine's lock is
// held, and its process does not live.
func (f *Fleet) launch(ctx context.Context, record *state.VM, o StartOptions) (err error) {
	if err := os.MkdirAll(f.Dirs.VMRoot(record.ID), 0o700); err != nil {
		return err
	}
	if err := state.Sweep(f.Dirs.VMDir(record.ID)); err != nil {
		return err
	}
	life, err := state.TryLock(f.Dirs.Alive(record.ID))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, life.Unlock()) }()
	if _, err := f.settle(ctx, record); err != nil {
		return err
	}
	plan, err := record.Spec.Plan()
	if err != nil {
		return &vm.InputError{Err: err}
	}
	e, err := f.enclose(record, plan)
	if err != nil {
		return errors.Join(err, f.release(ctx, record))
	}
	defer e.close()
	queues, err := f.plug(ctx, record, plan)
	if err != nil {
		return errors.Join(err, f.release(ctx, record))
	}
	defer closeAll(queues)
	var files []*os.File
	if o.Leash != nil {
		files = append(files, o.Leash)
	}
	for _, queue := range queues {
		files = append(files, queue...)
	}
	err = f.spawn(ctx, process{
		log: f.processLog(record.ID), args: arguments(record, o, len(e.shares)), life: life,
		files: append(files, e.shares...), attr: e.attr, started: e.join,
		judge: func(report []byte) error { return f.judgeReport(record, report) },
	})
	if err != nil {
		return errors.Join(err, f.release(ctx, record))
	}
	return nil
}

// arguments are those of the machine's process.
func arguments(record *state.VM, o StartOptions, shares int) []string {
	args := []string{ProcessCommand, record.ID, SharesFlag, strconv.Itoa(shares)}
	if o.Leash != nil {
		args = append(args, LeashFlag)
	}
	if privileged() {
		for _, port := range record.Ports {
			args = append(args, strconv.Itoa(port.Queues))
		}
	}
	return args
}

// processLog is where a machine's process says what it cannot say otherwise: the
// runtime's last words.
func (f *Fleet) processLog(id string) string { return filepath.Join(f.Dirs.VMDir(id), "process.log") }

// judgeReport reads what a machine's process said of its start.
func (f *Fleet) judgeReport(record *state.VM, text []byte) error {
	var r vmm.Report
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("%s: its process died while it started%s", record.Name, f.lastWords(record.ID))
	}
	switch {
	case r.Error == "":
		return nil
	case r.Kind == vmm.KindInput:
		return &vm.InputError{Err: errors.New(r.Error)}
	case r.Kind == vmm.KindHost:
		return &vm.HostError{Err: errors.New(r.Error)}
	}
	return errors.New(r.Error)
}

// lastWords is the beginning of what a process wrote that died: the reason comes first.
func (f *Fleet) lastWords(id string) string {
	text, err := os.ReadFile(f.processLog(id))
	text = bytes.TrimSpace(text)
	if err != nil || len(text) == 0 {
		return ""
	}
	return ":\n" + string(text[:min(len(text), 2000)])
}
