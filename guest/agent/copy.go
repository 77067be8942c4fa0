package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
)

// CopyTo copies the file or directory at hostPath into the guest. If guestPath is a
// directory there, or ends in a slash, it goes into it under its own name, else it is
// called guestPath. Files appear whole or not at all, with mode and time of
// modification, and belong to the agent's user; links below hostPath are copied as
// links. A relative guestPath begins where commands start.
func (c *Client) CopyTo(ctx context.Context, hostPath, guestPath string) error {
	base, err := baseName(hostPath)
	if err != nil {
		return err
	}
	in, out := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := pack(out, hostPath)
		packed <- err
		_ = out.CloseWithError(err)
	}()
	err = c.copy(ctx, copyRequest{direction: copyToGuest, window: 1, path: guestPath, base: base}, Command{Stdin: in})
	_ = in.CloseWithError(io.ErrClosedPipe) // ends pack if the guest wants no more
	if fault := <-packed; fault != nil && (err == nil || !errors.Is(fault, io.ErrClosedPipe)) {
		err = fault // then what the guest says is only what follows from it
	}
	if err != nil {
		return fmt.Errorf("copy %s to the guest's %s: %w", hostPath, guestPath, err)
	}
	return nil
}

// CopyFrom copies a file or directory of the guest to hostPath, by the same rules.
// Whatever the guest sends, only the object that the caller named is written, nothing
// beside it or behind a link, and no more than limits allow; modes lose what gives
// rights to others' programs (set-user-ID and the like).
func (c *Client) CopyFrom(ctx context.Context, guestPath, hostPath string, limits CopyLimits) error {
	base, err := baseName(guestPath)
	if err != nil {
		return err
	}
	in, out := io.Pipe()
	unpacked := make(chan error, 1)
	go func() {
		err := unpack(in, hostPath, base, 0o777, limits)
		if err == nil {
			_ = in.CloseWithError(errNotTaken)
		} else {
			_ = in.CloseWithError(err)
		}
		unpacked <- err
	}()
	err = c.copy(ctx, copyRequest{direction: copyFromGuest, window: outputWindow, path: guestPath}, Command{Stdout: out})
	if err != nil {
		_ = out.CloseWithError(err)
	} else {
		_ = out.Close()
	}
	fault := <-unpacked
	var there *CopyError
	switch {
	case fault == nil:
		return nil // what came was complete
	case err == nil || !errors.As(err, &there) && !errors.Is(err, ErrDisconnected) && ctx.Err() == nil:
		err = fault
	case there != nil && there.Message == errNotTaken.Error():
		err = fault // the guest only says that we gave up
	}
	return fmt.Errorf("copy the guest's %s to %s: %w", guestPath, hostPath, err)
}

// baseName is what an object is called when it is put into a directory.
func baseName(path string) (string, error) {
	base := filepath.Base(path)
	if path == "" || base == "/" || base == "." || base == ".." {
		return "", fmt.Errorf("copy %q: name a file or a directory by its own name", path)
	}
	return base, nil
}

func (c *Client) copy(ctx context.Context, r copyRequest, cmd Command) error {
	if c.peer.features&FeatureCopy == 0 {
		return ErrUnsupported
	}
	if len(r.path) > maxName || r.path == "" || hasNUL(r.path) {
		return fmt.Errorf("%q is no path", r.path)
	}
	cmd.Args = []string{"copy"}
	s, err := c.start(ctx, cmd, [][]byte{r.frame()}, true)
	if err != nil {
		return err
	}
	_, err = s.Wait()
	return err
}
