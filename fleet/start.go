package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/fleet/vmm"
	"github.com/gureum/gureum/vm"
)

// ProcessCommand is the hidden command of the program that runs a machine's process:
//
//	gureum vmm ID [--leash] QUEUES...
//
// with one number for each interface on a network, the count of its queues. Its
// descriptors are the lock that says that it lives, the pipe for its report, the leash,
// and the queues, from FirstFile up.
const (
	ProcessCommand = "vmm"
	LeashFlag      = "--leash"
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
func (f *Fleet) Start(ctx context.Context, ref string, o StartOptions) (err error) {
	record, err := f.Dirs.FindVM(ref)
	if err != nil {
		return err
	}
	lock, err := f.Dirs.LockVM(ctx, record.ID)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	if record, err = f.Dirs.GetVM(record.ID); err != nil {
		return err
	}
	status, err := f.Dirs.Status(record.ID)
	if err != nil {
		return err
	}
	if alive(status) {
		return fmt.Errorf("%s: %w already", record.Name, ErrRunning)
	}
	record.Want, record.Restarts = state.WantRunning, 0
	if err := f.Dirs.PutVM(record); err != nil {
		return err
	}
	if err = f.launch(ctx, record, o); err != nil {
		record.Want = state.WantStopped
		return errors.Join(err, f.Dirs.PutVM(record))
	}
	return f.ensureSupervisor()
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
	reports, report, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reports.Close()
	queues, err := f.plug(ctx, record)
	if err != nil {
		return errors.Join(err, report.Close())
	}
	defer closeAll(queues)
	files := []*os.File{life.File(), report}
	if o.Leash != nil {
		files = append(files, o.Leash)
	}
	for _, queue := range queues {
		files = append(files, queue...)
	}
	err = f.spawn(record, o, files, func(process *os.Process) error {
		return f.await(ctx, process, record, reports)
	})
	if err != nil {
		err = errors.Join(err, f.unplug(context.WithoutCancel(ctx), record))
	}
	return err
}

// spawn starts the machine's process with the files that it inherits, of which the
// second is the pipe for its report, and waits for that.
func (f *Fleet) spawn(record *state.VM, o StartOptions, files []*os.File, await func(*os.Process) error) error {
	report := files[1]
	cmd, log, err := f.command(record, o)
	if err != nil {
		return errors.Join(err, report.Close())
	}
	defer log.Close()
	cmd.ExtraFiles = files
	err = cmd.Start()
	if err = errors.Join(err, report.Close()); err != nil {
		return fmt.Errorf("start the machine's process: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // so that nothing is left of it while this process lives
	}()
	if err := await(cmd.Process); err != nil {
		_ = cmd.Process.Kill() // it ends by itself, or has hung
		<-ended
		return err
	}
	return nil
}

// command is the machine's process, not started, and its log, which the caller closes.
func (f *Fleet) command(record *state.VM, o StartOptions) (*exec.Cmd, *os.File, error) {
	args := []string{ProcessCommand, record.ID}
	if o.Leash != nil {
		args = append(args, LeashFlag)
	}
	if privileged() {
		for _, port := range record.Ports {
			args = append(args, strconv.Itoa(port.Queues))
		}
	}
	return f.background(f.processLog(record.ID), args...)
}

// processLog is where a machine's process says what it cannot say otherwise: the
// runtime's last words.
func (f *Fleet) processLog(id string) string { return filepath.Join(f.Dirs.VMDir(id), "process.log") }

// environment is all that a machine's process gets to know of its caller's.
func (f *Fleet) environment() []string {
	env := []string{state.EnvState + "=" + f.Dirs.State, state.EnvRun + "=" + f.Dirs.Run}
	for _, name := range []string{"PATH", "HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "GUREUM_IMAGES"} {
		if value, set := os.LookupEnv(name); set {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// maxReport bounds a report, in bytes.
const maxReport = 64 << 10

// await reads the process's report. When ctx ends first the process is killed.
func (f *Fleet) await(ctx context.Context, process *os.Process, record *state.VM, reports *os.File) error {
	defer context.AfterFunc(ctx, func() { _ = process.Kill() })()
	text, err := io.ReadAll(io.LimitReader(reports, maxReport))
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
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
