package fs

import (
	"sync"

	"golang.org/x/sys/unix"
)

// rootNode is the node of the shared folder (FUSE_ROOT_ID).
const rootNode = 1

// node is a file, folder or anything else that the guest has looked up. Its
// descriptor is of the thing itself, so it stays the same whatever happens to names.
type node struct {
	fd   int // O_PATH
	kind uint32
	id   uint64
	key  fileKey

	// Guarded by nodes.mu:
	lookups uint64 // that the guest has not forgotten
	uses    int    // requests that work with it
}

// fileKey tells files apart. While a descriptor is open the number is not used again.
type fileKey struct{ dev, ino uint64 }

// isDir tells whether it is a folder.
func (n *node) isDir() bool { return n.kind == unix.S_IFDIR }

// isFile tells whether it is a plain file.
func (n *node) isFile() bool { return n.kind == unix.S_IFREG }

// nodes is all that a guest has looked up.
type nodes struct {
	limit int

	mu    sync.Mutex
	byID  map[uint64]*node
	byKey map[fileKey]*node
	next  uint64
}

func newNodes(root int, limit int) (*nodes, error) {
	t := &nodes{limit: limit, byID: map[uint64]*node{}, byKey: map[fileKey]*node{}, next: rootNode}
	var st unix.Stat_t
	if err := unix.Fstat(root, &st); err != nil {
		return nil, err
	}
	t.insert(root, &st)
	return t, nil
}

// get gives a node for use by a request; put ends it.
func (t *nodes) get(id uint64) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.byID[id]
	if n != nil {
		n.uses++
	}
	return n
}

func (t *nodes) put(n *node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n.uses--
	t.drop(n)
}

// enter counts a lookup of the file that the O_PATH descriptor fd stands for, which
// it takes over also when it fails.
func (t *nodes) enter(fd int, st *unix.Stat_t) (uint64, unix.Errno) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.byKey[fileKey{st.Dev, st.Ino}]; n != nil {
		n.lookups++
		_ = unix.Close(fd)
		return n.id, 0
	}
	if len(t.byID) >= t.limit {
		_ = unix.Close(fd)
		return 0, unix.ENFILE
	}
	return t.insert(fd, st), 0
}

// insert makes a node. The caller holds the lock or is alone.
func (t *nodes) insert(fd int, st *unix.Stat_t) uint64 {
	n := &node{fd: fd, kind: st.Mode & unix.S_IFMT, id: t.next, key: fileKey{st.Dev, st.Ino}, lookups: 1}
	t.next++
	t.byID[n.id], t.byKey[n.key] = n, n
	return n.id
}

// forget takes lookups back.
func (t *nodes) forget(id, lookups uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.byID[id]
	if n == nil || id == rootNode {
		return
	}
	n.lookups -= min(lookups, n.lookups)
	t.drop(n)
}

// drop frees a node that nobody knows any more. The caller holds the lock.
func (t *nodes) drop(n *node) {
	if n.lookups > 0 || n.uses > 0 {
		return
	}
	delete(t.byID, n.id)
	delete(t.byKey, n.key)
	_ = unix.Close(n.fd)
}

// forgetAll is what a reset or FUSE_DESTROY does. No request is under way.
func (t *nodes) forgetAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, n := range t.byID {
		if id != rootNode {
			n.lookups = 0
			t.drop(n)
		}
	}
}

// count is the number of nodes.
func (t *nodes) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID)
}
