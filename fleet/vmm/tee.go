package vmm

import (
	"io"
	"sync"

	"github.com/gureum/gureum/fleet/state"
)

// tee keeps what a machine writes in a log and passes it on to those who watch.
type tee struct {
	mu       sync.Mutex
	log      *state.Log
	watchers map[*watcher]struct{}
	ended    bool
}

func openTee(path string) (*tee, error) {
	log, err := state.OpenLog(path)
	if err != nil {
		return nil, err
	}
	return &tee{log: log, watchers: map[*watcher]struct{}{}}, nil
}

// Write implements io.Writer. It does not wait for watchers: one that is too slow is
// left behind.
func (t *tee) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for w := range t.watchers {
		if !w.put(p) {
			w.end()
			delete(t.watchers, w)
		}
	}
	return t.log.Write(p)
}

// watch gives what is written from now on.
func (t *tee) watch() *watcher {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := &watcher{}
	w.more.L = &w.mu
	if t.ended {
		w.end()
		return w
	}
	t.watchers[w] = struct{}{}
	return w
}

// leave ends a watch.
func (t *tee) leave(w *watcher) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.watchers, w)
	w.end()
}

// end tells the watchers that nothing comes any more.
func (t *tee) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	for w := range t.watchers {
		w.end()
	}
	clear(t.watchers)
}

func (t *tee) close() error {
	if t == nil {
		return nil
	}
	t.end()
	return t.log.Close()
}

// maxBehind is how far a watcher may be behind before it is left, in bytes.
const maxBehind = 1 << 20

// watcher is somebody who reads what is written.
type watcher struct {
	mu    sync.Mutex
	more  sync.Cond
	data  []byte
	ended bool
}

func (w *watcher) put(p []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.data)+len(p) > maxBehind {
		return false
	}
	w.data = append(w.data, p...)
	w.more.Signal()
	return true
}

func (w *watcher) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.more.Signal()
}

// copyTo writes what comes until the end, or until out fails.
func (w *watcher) copyTo(out io.Writer) error {
	for {
		w.mu.Lock()
		for len(w.data) == 0 && !w.ended {
			w.more.Wait()
		}
		data := w.data
		w.data = nil
		w.mu.Unlock()
		if len(data) == 0 {
			return nil
		}
		if _, err := out.Write(data); err != nil {
			return err
		}
	}
}
