package fs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/queue"
	"github.com/gureum/gureum/virtio/virtiotest"
)

func TestFiles(t *testing.T) {
	old := unix.Umask(0o077) // must not count
	defer unix.Umask(old)
	dir := tree(t)
	c := newClient(t, dir, false)
	// FUSE_CREATE, write, read, fsync, release.
	out := c.must(35, rootNode, cat(u32(unix.O_RDWR, 0o100664, 0, 0), text("new")))
	node, handle := binary.LittleEndian.Uint64(out), binary.LittleEndian.Uint64(out[128:])
	if mode := binary.LittleEndian.Uint32(out[40+60:]); mode != 0o100664 {
		t.Errorf("mode %o", mode)
	}
	if errno := c.write(node, handle, 3, "hello"); errno != 0 {
		t.Fatal(errno)
	}
	if got := c.read(node, handle, 0, 100); got != "\x00\x00\x00hello" {
		t.Errorf("%q", got)
	}
	c.must(20, node, cat(u64(handle), u32(0, 0)))
	// Rename, link, chmod, truncate, unlink.
	c.must(12, rootNode, cat(u64(c.node("sub")), text("new"), text("moved")))
	c.must(13, rootNode, cat(u64(node), text("hard")))
	setattr := func(valid, mode uint32, size uint64) []byte {
		return cat(u32(valid, 0), u64(handle, size, 0, 0, 0, 0), u32(0, 0, 0, mode, 0, 0, 0, 0))
	}
	attr := c.must(4, node, setattr(setMode|setSize, 0o104755, 5))
	if mode, size := binary.LittleEndian.Uint32(attr[16+60:]), binary.LittleEndian.Uint64(attr[24:]); mode != 0o100755 || size != 5 {
		t.Errorf("mode %o (a set-user-ID bit must not come through), size %d", mode, size)
	}
	got, err := os.ReadFile(filepath.Join(dir, "sub/moved"))
	if err != nil || string(got) != "\x00\x00\x00he" {
		t.Errorf("%q, %v", got, err)
	}
	c.must(10, rootNode, text("hard"))
	c.must(18, node, cat(u64(handle), u32(0, 0), u64(0)))
	if _, errno := c.call(15, node, cat(u64(handle, 0), u32(1, 0), u64(0), u32(0, 0))); errno != unix.EBADF {
		t.Errorf("read from a closed file: %v", errno)
	}
	// Folders and links.
	c.must(9, rootNode, cat(u32(0o775, 0), text("dir")))
	if st, err := os.Stat(filepath.Join(dir, "dir")); err != nil || st.Mode().Perm() != 0o775 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	c.must(11, rootNode, text("dir"))
	c.must(6, rootNode, cat(text("sym"), text("/anywhere")))
	if got := c.must(5, c.node("sym"), nil); string(got) != "/anywhere" {
		t.Errorf("link to %q", got)
	}
	c.must(17, rootNode, nil)
	c.must(50, rootNode, u64(0))
}

func TestReaddirOfMany(t *testing.T) {
	dir := tree(t)
	want := map[string]bool{".": true, "..": true, "sub": true, "file": true, "link": true, "linkdir": true, "fifo": true}
	for i := range 10000 {
		name := fmt.Sprintf("f%d-%s", i, strings.Repeat("x", i%50))
		want[name] = true
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := newClient(t, dir, false)
	handle := binary.LittleEndian.Uint64(c.must(27, rootNode, u32(0, 0)))
	off := uint64(0)
	for {
		b := c.must(28, rootNode, cat(u64(handle, off), u32(4096, 0), u64(0), u32(0, 0)))
		if len(b) == 0 {
			break
		}
		for len(b) > 0 {
			n := int(binary.LittleEndian.Uint32(b[16:]))
			name := string(b[24 : 24+n])
			if !want[name] {
				t.Fatalf("%q is there twice or not at all", name)
			}
			delete(want, name)
			off = binary.LittleEndian.Uint64(b[8:])
			b = b[(24+n+7)&^7:]
		}
	}
	if len(want) != 0 {
		t.Errorf("%d names are missing", len(want))
	}
	c.must(29, rootNode, cat(u64(handle), u32(0, 0), u64(0)))
}

func TestXattr(t *testing.T) {
	dir := tree(t)
	c := newClient(t, dir, false)
	node := c.node("file")
	if _, errno := c.call(21, node, cat(u32(5, 0), text("user.a"), []byte("value"))); errno != 0 {
		t.Fatal(errno)
	}
	if got := c.must(22, node, cat(u32(100, 0), text("user.a"))); string(got) != "value" {
		t.Errorf("%q", got)
	}
	if got := c.must(22, node, cat(u32(0, 0), text("user.a"))); binary.LittleEndian.Uint32(got) != 5 {
		t.Errorf("% x", got)
	}
	if got := c.must(23, node, u32(100, 0)); string(got) != "user.a\x00" {
		t.Errorf("%q", got)
	}
	c.must(24, node, text("user.a"))
	for _, name := range []string{"security.capability", "trusted.a", "system.posix_acl_access"} {
		if _, errno := c.call(21, node, cat(u32(1, 0), text(name), []byte("x"))); errno != unix.EOPNOTSUPP {
			t.Errorf("%s: %v", name, errno)
		}
	}
	if _, errno := c.call(21, node, cat(u32(1<<30, 0), text("user.a"))); errno != unix.E2BIG {
		t.Errorf("a value of a GiB: %v", errno)
	}
}

// TestNoWayOut has a guest try every way out of its folder.
func TestNoWayOut(t *testing.T) {
	dir := tree(t)
	c := newClient(t, dir, false)
	for _, name := range []string{"..", ".", "", "../secret", "sub/../../secret", "/etc", "link/"} {
		if _, errno := c.lookup(rootNode, name); errno != unix.EINVAL {
			t.Errorf("lookup of %q: %v", name, errno)
		}
		if _, errno := c.call(35, rootNode, cat(u32(unix.O_RDWR, 0o644, 0, 0), text(name))); errno != unix.EINVAL {
			t.Errorf("create of %q: %v", name, errno)
		}
		if _, errno := c.call(12, rootNode, cat(u64(rootNode), text("file"), text(name))); errno != unix.EINVAL {
			t.Errorf("rename to %q: %v", name, errno)
		}
	}
	for _, name := range []string{"link", "linkdir", "fifo"} {
		if h, errno := c.open(c.node(name), unix.O_RDWR|unix.O_TRUNC); errno != unix.ENXIO {
			t.Errorf("open of %s: handle %d, %v", name, h, errno)
		}
		if _, errno := c.call(27, c.node(name), u32(0, 0)); errno != unix.ENOTDIR {
			t.Errorf("opendir of %s: %v", name, errno)
		}
		if _, errno := c.lookup(c.node(name), "secret"); errno != unix.ENOTDIR {
			t.Errorf("lookup in %s: %v", name, errno)
		}
		if _, errno := c.call(4, c.node(name), cat(u32(setSize, 0), make([]byte, 80))); errno != unix.EINVAL {
			t.Errorf("truncate of %s: %v", name, errno)
		}
	}
	// A file that is there, by way of a link: nothing is created behind it.
	if _, errno := c.call(35, rootNode, cat(u32(unix.O_WRONLY|unix.O_TRUNC, 0o644, 0, 0), text("link"))); errno != unix.ENXIO {
		t.Errorf("create over a link: %v", errno)
	}
	for _, mode := range []uint32{unix.S_IFBLK, unix.S_IFCHR} {
		if _, errno := c.call(8, rootNode, cat(u32(mode|0o666, 0x103, 0, 0), text("device"))); errno != unix.EPERM {
			t.Errorf("mknod of %o: %v", mode, errno)
		}
	}
	for _, node := range []uint64{0, 2, 99, 1 << 63} {
		if _, errno := c.call(3, node, u32(0, 0, 0, 0)); node != 2 && errno != unix.ESTALE {
			t.Errorf("node %d: %v", node, errno)
		}
	}
	if _, errno := c.call(99, rootNode, nil); errno != unix.ENOSYS {
		t.Errorf("an unknown operation: %v", errno)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "../secret")); err != nil || string(got) != secret {
		t.Errorf("the secret is %q, %v", got, err)
	}
}

// TestSwappedLinks has the host, or another guest, swap a folder and a link all the
// time while the guest walks through it.
func TestSwappedLinks(t *testing.T) {
	dir := tree(t)
	if err := os.WriteFile(filepath.Join(dir, "sub/secret"), []byte("harmless"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(dir, "sub"), unix.AT_FDCWD, filepath.Join(dir, "out"), unix.RENAME_EXCHANGE)
			}
		}
	}()
	c := newClient(t, dir, false)
	inside := 0
	for range 800 {
		sub, errno := c.lookup(rootNode, "sub")
		if errno != 0 {
			continue
		}
		id, errno := c.lookup(sub, "secret")
		if errno != 0 {
			continue
		}
		h, errno := c.open(id, unix.O_RDONLY)
		if errno != 0 {
			continue
		}
		if got := c.read(id, h, 0, 100); got != "harmless" {
			t.Fatalf("read %q", got)
		}
		inside++
		c.must(18, id, cat(u64(h), u32(0, 0), u64(0)))
	}
	close(stop)
	<-stopped
	t.Logf("%d of 800 walks arrived, none outside", inside)
	if inside == 0 {
		t.Error("no walk arrived: the race was not run")
	}
}

func TestReadOnly(t *testing.T) {
	dir := tree(t)
	c := newClient(t, dir, true)
	node := c.node("file")
	h, errno := c.open(node, unix.O_RDONLY)
	if errno != 0 || c.read(node, h, 0, 100) != "content" {
		t.Fatal(errno)
	}
	for _, flags := range []uint32{unix.O_RDWR, unix.O_WRONLY, unix.O_RDONLY | unix.O_TRUNC} {
		if _, errno := c.open(node, flags); errno != unix.EROFS {
			t.Errorf("open with %#x: %v", flags, errno)
		}
	}
	for code, o := range ops {
		if !o.writes {
			continue
		}
		if _, errno := c.call(uint32(code), node, make([]byte, 100)); errno != unix.EROFS {
			t.Errorf("operation %d: %v", code, errno)
		}
	}
}

func TestForget(t *testing.T) {
	dir := tree(t)
	c := newClient(t, dir, false)
	start := c.dev.server.nodes.count()
	for range 3 {
		c.node("file")
	}
	node := c.node("file")
	h, _ := c.open(node, unix.O_RDONLY)
	q := c.Queue(queueUrgent)
	q.Do([][]byte{request(2, node, u64(3))})
	if n := c.dev.server.nodes.count(); n != start+1 {
		t.Errorf("%d nodes", n)
	}
	q.Do([][]byte{request(42, 0, cat(u32(3, 0), u64(node, 1), u64(rootNode, 99), u64(12345, 1)))})
	if n := c.dev.server.nodes.count(); n != start {
		t.Errorf("%d nodes after all was forgotten, %d at the start", n, start)
	}
	if got := c.read(node, h, 0, 9); got != "content" {
		t.Errorf("an open file that is forgotten reads %q", got)
	}
	c.node("sub")
	c.Reset()
	if n := c.dev.server.nodes.count(); n != 1 {
		t.Errorf("%d nodes after a reset", n)
	}
}

func TestLimits(t *testing.T) {
	dir := tree(t)
	c := newClient(t, dir, false)
	s := c.dev.server
	s.nodes.mu.Lock()
	s.nodes.limit = 2
	s.nodes.mu.Unlock()
	s.handles.mu.Lock()
	s.handles.limit = 1
	s.handles.mu.Unlock()
	node := c.node("file")
	if _, errno := c.lookup(rootNode, "sub"); errno != unix.ENFILE {
		t.Errorf("one node too many: %v", errno)
	}
	if _, errno := c.open(node, 0); errno != 0 {
		t.Error(errno)
	}
	if _, errno := c.open(node, 0); errno != unix.ENFILE {
		t.Errorf("one file too many: %v", errno)
	}
}

func TestMalformed(t *testing.T) {
	dir := tree(t)
	c := newClient(t, dir, false)
	bad := request(1, rootNode, text("file"))
	bad[0]++ // length
	r, n := c.Queue(queueRequests).Do([][]byte{bad}, 200)
	if n != outHeader || unix.Errno(-int32(binary.LittleEndian.Uint32(r.Writable(0)[4:]))) != unix.EINVAL {
		t.Errorf("a wrong length: %d bytes, % x", n, r.Writable(0)[:16])
	}
	if r, n := c.Queue(queueRequests).Do([][]byte{request(1, rootNode, text("file"))}, 20); n != outHeader ||
		unix.Errno(-int32(binary.LittleEndian.Uint32(r.Writable(0)[4:]))) != unix.ERANGE {
		t.Errorf("no room: %d bytes", n)
	}
	c.Queue(queueRequests).Submit([][]byte{make([]byte, 39)}, 200)
	c.Queue(queueRequests).Kick()
	c.Eventually("a request without a header breaks the queue", func() bool { return c.Core.Status()&virtio.StatusNeedsReset != 0 })
}

func TestTag(t *testing.T) {
	for _, tag := range []string{"", "a b", "a/b", "..", "a:b", "a\"", strings.Repeat("x", 37)} {
		if CheckTag(tag) == nil {
			t.Errorf("tag %q is taken", tag)
		}
	}
	if _, err := New(Config{Dir: "/does/not/exist", Tag: "x"}); err == nil {
		t.Error("a folder that does not exist is taken")
	}
	d, err := New(Config{Dir: t.TempDir(), Tag: "x"})
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 44)
	d.ReadConfig(0, b)
	if want := append(append([]byte("x"), make([]byte, 35)...), 1, 0, 0, 0, 0, 0, 0, 0); !bytes.Equal(b, want) {
		t.Errorf("% x", b)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func seeds() [][]byte {
	return [][]byte{
		request(26, 0, u32(7, 41, 1<<20, 1<<32-1)),
		request(1, 1, text("file")), request(1, 1, text("link")), request(1, 1, text("..")), request(1, 2, text("secret")),
		request(3, 1, u32(0, 0, 0, 0)), request(4, 2, cat(u32(1<<9-1, 0), make([]byte, 80))),
		request(35, 1, cat(u32(2, 0o644, 0, 0), text("n"))), request(12, 1, cat(u64(1), text("n"), text("m"))),
		request(13, 1, cat(u64(2), text("l"))), request(14, 2, u32(2, 0)),
		request(15, 2, cat(u64(1, 0), u32(100, 0), u64(0), u32(0, 0))),
		request(16, 2, cat(u64(1, 0), u32(3, 0), u64(0), u32(0, 0), []byte("abc"))),
		request(27, 1, u32(0, 0)), request(28, 1, cat(u64(2, 0), u32(4096, 0), u64(0), u32(0, 0))),
		request(6, 1, cat(text("s"), text("../secret"))), request(5, 3, nil), request(10, 1, text("n")),
		request(21, 2, cat(u32(5, 0), text("user.a"), []byte("value"))), request(22, 2, cat(u32(9, 0), text("user.a"))),
		request(42, 0, cat(u32(2, 0), u64(2, 1, 3, 1))), request(45, 1, cat(u64(1), u32(2, 0), text("a"), text("b"))),
		request(46, 2, cat(u64(1, 0), u32(4, 0))), request(47, 2, cat(u64(1, 0, 2, 1, 50, 10, 0))),
	}
}

func TestHostileDriver(t *testing.T) {
	dir := tree(t)
	for seed := range uint64(3) {
		virtiotest.Hammer(t, func() virtio.Device {
			d, err := New(Config{Dir: dir, Tag: "x"})
			if err != nil {
				t.Fatal(err)
			}
			return d
		}, 4000, seed, seeds()...)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "../secret")); err != nil || string(got) != secret {
		t.Errorf("the secret is %q, %v", got, err)
	}
}

// FuzzRequest sends two requests of any content, the second of which may use what the
// first made. Nothing of what lies outside the folder comes out, and nothing there
// changes.
func FuzzRequest(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s, request(14, 2, u32(0, 0)), uint16(4096))
	}
	dir := tree(f)
	s, err := newServer(Config{Dir: dir})
	if err != nil {
		f.Fatal(err)
	}
	w := newWorker(s)
	outside := filepath.Join(dir, "../secret")
	f.Fuzz(func(t *testing.T, a, b []byte, room uint16) {
		for _, req := range [][]byte{request(1, 1, text("file")), request(14, 2, u32(2, 0)), a, b} {
			out := make([]byte, room)
			c := queue.Chain{Readable: [][]byte{req}, ReadLen: uint64(len(req))}
			if room > 0 {
				c.Writable, c.WriteLen = [][]byte{out}, uint64(room)
			}
			n, err := w.handle(&c)
			if err == nil && int(n) > len(out) {
				t.Fatalf("%d bytes written to %d", n, len(out))
			}
			if bytes.Contains(out, []byte(secret)) {
				t.Fatal("the secret came out")
			}
		}
		s.forgetAll()
		if got, err := os.ReadFile(outside); err != nil || string(got) != secret {
			t.Fatalf("the secret is %q, %v", got, err)
		}
		if entries, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(entries) != 2 {
			t.Fatalf("outside there is %v, %v", entries, err)
		}
	})
}

// TestSteadyStateDoesNotAllocate holds that of what guests ask most.
func TestSteadyStateDoesNotAllocate(t *testing.T) {
	s, err := newServer(Config{Dir: tree(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	w := newWorker(s)
	out := make([]byte, 8192)
	c := &queue.Chain{}
	ask := func(req []byte) {
		c.Readable, c.ReadLen = append(c.Readable[:0], req), uint64(len(req))
		c.Writable, c.WriteLen = append(c.Writable[:0], out[:outHeader], out[outHeader:]), uint64(len(out))
		if _, err := w.handle(c); err != nil || binary.LittleEndian.Uint32(out[4:]) != 0 {
			t.Fatal(err, out[:outHeader])
		}
	}
	ask(request(1, rootNode, text("file")))
	ask(request(14, 2, u32(unix.O_RDWR, 0)))
	for what, req := range map[string][]byte{
		"getattr": request(3, 2, u32(0, 0, 0, 0)),
		"read":    request(15, 2, cat(u64(1, 0), u32(4096, 0), u64(0), u32(0, 0))),
		"write":   request(16, 2, cat(u64(1, 0), u32(4096, 0), u64(0), u32(0, 0), make([]byte, 4096))),
	} {
		if n := testing.AllocsPerRun(200, func() { ask(req) }); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

// TestOwnerIsRenamed has files of this process's user belong to another for the guest.
func TestOwnerIsRenamed(t *testing.T) {
	dir := tree(t)
	self := Owner{UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), AsUID: 1234, AsGID: 5678}
	c := newClientOf(t, Config{Dir: dir, Tag: "tag", Owner: self})
	node := c.node("file")
	owner := func() (uid, gid uint32) {
		attr := c.must(3, node, u32(0, 0, 0, 0))[16:] // behind how long they are valid
		return binary.LittleEndian.Uint32(attr[68:]), binary.LittleEndian.Uint32(attr[72:])
	}
	if uid, gid := owner(); uid != 1234 || gid != 5678 {
		t.Errorf("owner %d, %d", uid, gid)
	}
	chown := func(uid, gid uint32) unix.Errno {
		in := cat(u32(setUID|setGID, 0), u64(0, 0, 0, 0, 0, 0), u32(0, 0, 0, 0, 0, uid, gid, 0))
		_, errno := c.call(4, node, in)
		return errno
	}
	if errno := chown(1234, 5678); errno != 0 {
		t.Errorf("to its owner: %v", errno)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, "file"), &st); err != nil || st.Uid != self.UID || st.Gid != self.GID {
		t.Errorf("on the host: %d, %d, %v", st.Uid, st.Gid, err)
	}
}
