package fs

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/gureum/gureum/virtio/virtiotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// secret is a file beside the shared folder, which no guest may see or change.
const secret = "what the guest must not see"

// tree makes a folder to share, below a folder with a secret, and links that lead out.
func tree(t testing.TB) (dir string) {
	t.Helper()
	top := t.TempDir()
	dir = filepath.Join(top, "share")
	for _, err := range []error{
		os.WriteFile(filepath.Join(top, "secret"), []byte(secret), 0o600),
		os.Mkdir(dir, 0o755),
		os.Mkdir(filepath.Join(dir, "sub"), 0o755),
		os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o644),
		os.Symlink("../secret", filepath.Join(dir, "link")),
		os.Symlink(top, filepath.Join(dir, "linkdir")),
		unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// client is a guest that speaks FUSE by itself.
type client struct {
	*virtiotest.Driver
	t   testing.TB
	dev *Device
}

func newClient(t testing.TB, dir string, readOnly bool) *client {
	t.Helper()
	return newClientOf(t, Config{Dir: dir, Tag: "tag", ReadOnly: readOnly})
}

func newClientOf(t testing.TB, config Config) *client {
	t.Helper()
	dev, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{Driver: virtiotest.New(t, dev), t: t, dev: dev}
	c.Start(virtiotest.AllFeatures)
	out, errno := c.call(26, 0, u32(7, 41, 1<<20, 1<<32-1)) // FUSE_INIT
	if errno != 0 || len(out) != 64 || binary.LittleEndian.Uint32(out) != 7 {
		t.Fatalf("FUSE_INIT: %v, % x", errno, out)
	}
	return c
}

func u32(values ...uint32) (b []byte) {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

func u64(values ...uint64) (b []byte) {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func cat(parts ...[]byte) (b []byte) {
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func text(s string) []byte { return append([]byte(s), 0) }

// request is a whole message.
func request(opcode uint32, node uint64, body []byte) []byte {
	return cat(u32(uint32(inHeader+len(body)), opcode), u64(77, node), u32(0, 0, 1, 0), body)
}

// call asks and returns the answer's body.
func (c *client) call(opcode uint32, node uint64, body []byte) ([]byte, unix.Errno) {
	c.t.Helper()
	r, n := c.Queue(queueRequests).Do([][]byte{request(opcode, node, body)}, outHeader, 64<<10)
	out := r.AllWritable()[:n]
	if n < outHeader || binary.LittleEndian.Uint32(out) != n || binary.LittleEndian.Uint64(out[8:]) != 77 {
		c.t.Fatalf("opcode %d: an answer of %d bytes: % x", opcode, n, out[:min(n, 64)])
	}
	return out[outHeader:], unix.Errno(-int32(binary.LittleEndian.Uint32(out[4:])))
}

// must is call for what has to work.
func (c *client) must(opcode uint32, node uint64, body []byte) []byte {
	c.t.Helper()
	out, errno := c.call(opcode, node, body)
	if errno != 0 {
		c.t.Fatalf("opcode %d: %v", opcode, errno)
	}
	return out
}

func (c *client) lookup(dir uint64, name string) (uint64, unix.Errno) {
	c.t.Helper()
	out, errno := c.call(1, dir, text(name))
	if errno != 0 {
		return 0, errno
	}
	return binary.LittleEndian.Uint64(out), 0
}

func (c *client) node(name string) uint64 {
	c.t.Helper()
	id, errno := c.lookup(rootNode, name)
	if errno != 0 {
		c.t.Fatalf("lookup of %s: %v", name, errno)
	}
	return id
}

func (c *client) open(node uint64, flags uint32) (uint64, unix.Errno) {
	c.t.Helper()
	out, errno := c.call(14, node, u32(flags, 0))
	if errno != 0 {
		return 0, errno
	}
	return binary.LittleEndian.Uint64(out), 0
}

func (c *client) read(node, handle, off uint64, size uint32) string {
	c.t.Helper()
	return string(c.must(15, node, cat(u64(handle, off), u32(size, 0), u64(0), u32(0, 0))))
}

func (c *client) write(node, handle, off uint64, data string) unix.Errno {
	c.t.Helper()
	_, errno := c.call(16, node, cat(u64(handle, off), u32(uint32(len(data)), 0), u64(0), u32(0, 0), []byte(data)))
	return errno
}
