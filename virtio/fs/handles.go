package fs

import (
	"sync"

	"golang.org/x/sys/unix"
)

// handle is a plain file or folder that the guest has open.
type handle struct {
	fd    int
	isDir bool
	seek  sync.Mutex // of a folder: from the seek to the read behind it

	// Guarded by handles.mu:
	uses     int  // requests that work with it
	released bool // by the guest
}

// handles is all that a guest has open.
type handles struct {
	limit int

	mu   sync.Mutex
	byID map[uint64]*handle
	next uint64
}

func newHandles(limit int) *handles {
	return &handles{limit: limit, byID: map[uint64]*handle{}}
}

// add takes fd over, also when it fails.
func (t *handles) add(fd int, isDir bool) (uint64, unix.Errno) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.byID) >= t.limit {
		_ = unix.Close(fd)
		return 0, unix.ENFILE
	}
	t.next++
	t.byID[t.next] = &handle{fd: fd, isDir: isDir}
	return t.next, 0
}

// get gives a handle for use by a request; put ends it. Files and folders are not
// taken for one another.
func (t *handles) get(id uint64, isDir bool) (*handle, unix.Errno) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.byID[id]
	if h == nil || h.isDir != isDir {
		return nil, unix.EBADF
	}
	h.uses++
	return h, 0
}

func (t *handles) put(h *handle) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h.uses--
	h.drop()
}

// release closes a handle once no request uses it.
func (t *handles) release(id uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.byID[id]
	if h == nil {
		return
	}
	delete(t.byID, id)
	h.released = true
	h.drop()
}

func (h *handle) drop() {
	if h.released && h.uses == 0 {
		_ = unix.Close(h.fd)
	}
}

// releaseAll is what a reset or FUSE_DESTROY does.
func (t *handles) releaseAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, h := range t.byID {
		delete(t.byID, id)
		h.released = true
		h.drop()
	}
}
