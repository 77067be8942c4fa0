package fleet

import (
	"context"
	"io"
)

// Console connects to the console of a machine that runs: what it writes from now on, and
// what is typed. The connection's end is the machine's, or the caller's.
func (f *Fleet) Console(ctx context.Context, ref string) (io.ReadWriteCloser, error) {
	m, err := f.Get(ref)
	if err != nil {
		return nil, err
	}
	if !alive(m.Status) {
		return nil, m.notRunning()
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	console, err := f.Client(m.ID).Console(ctx)
	if err != nil {
		return nil, m.failed(err)
	}
	return console, nil
}
