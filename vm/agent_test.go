package vm

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/gureum/gureum/guest/agent"
)

// TestAnswerCalls has a guest give up on its first call, as one does that waited too
// long, and speak in its second.
func TestAnswerCalls(t *testing.T) {
	calls, served := 0, make(chan struct{})
	client, err := answerCalls(t.Context(), func(context.Context) (io.ReadWriteCloser, error) {
		calls++
		host, guest := net.Pipe()
		if calls == 1 {
			return host, guest.Close()
		}
		go func() {
			defer close(served)
			// It ends as its host does.
			_ = agent.Serve(guest, agent.ServeOptions{Reliable: true, Reaper: agent.NewReaper(false)})
		}()
		return host, nil
	})
	if err != nil || calls != 2 {
		t.Fatal(calls, err)
	}
	if err := client.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	<-served

	gone := errors.New("no more calls")
	if _, err := answerCalls(t.Context(), func(context.Context) (io.ReadWriteCloser, error) { return nil, gone }); !errors.Is(err, gone) {
		t.Error(err)
	}
}
