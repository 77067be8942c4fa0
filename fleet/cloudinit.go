package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gureum/gureum/fleet/state"
	"github.com/gureum/gureum/guest/agent"
)

// StageCloudInit is reached when cloud-init in the guest has done all that it had to.
const StageCloudInit state.Stage = "cloud-init"

// Exit statuses of "cloud-init status" (its manual page, cloud-init(1)).
const (
	cloudInitDone     = 0
	cloudInitDegraded = 2 // done, with errors that it got over
)

// awaitCloudInit has the guest's agent wait for cloud-init.
func (f *Fleet) awaitCloudInit(ctx context.Context, record *state.VM, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	client, err := f.Agent(ctx, record.ID, limit)
	if err != nil {
		return err
	}
	defer client.Close()
	var said limitedText
	status, err := client.Run(ctx, agent.Command{
		Args: []string{"cloud-init", "status", "--wait", "--long"}, Stdout: &said, Stderr: &said, KillDelay: time.Second,
	})
	var missing *agent.ExecError
	switch {
	case errors.As(err, &missing):
		return fmt.Errorf("%s: its guest has no cloud-init to wait for: %w", record.Name, err)
	case ctx.Err() != nil:
		return f.NotUp(record.ID, fmt.Errorf("%s: cloud-init is not done after %s: %s", record.Name, limit, said.String()))
	case err != nil:
		return fmt.Errorf("%s: wait for cloud-init: %w", record.Name, err)
	case status.ExitCode() != cloudInitDone && status.ExitCode() != cloudInitDegraded:
		return fmt.Errorf("%s: cloud-init failed in the guest: see gureum exec %s cat /var/log/cloud-init.log: %s", record.Name, record.Name, said.String())
	}
	return nil
}
