package blk

import (
	"bytes"
	"encoding/binary"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/gureum/gureum/guest/disk"
	"github.com/gureum/gureum/virtio/virtiotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memDisk is a disk in memory that can be slow, fail, and count.
type memDisk struct {
	mu       sync.Mutex
	data     []byte
	readOnly bool
	closed   bool
	flushes  int
	fail     error         // of each request
	gate     chan struct{} // each request takes a token, if not nil
	entered  chan struct{} // gets a token as a request reaches the gate
}

func (m *memDisk) pass() error {
	if m.gate != nil {
		m.entered <- struct{}{}
		<-m.gate
	}
	return m.fail
}

func (m *memDisk) ReadAt(p []byte, off int64) (int, error) {
	if err := m.pass(); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if off >= int64(len(m.data)) {
		return 0, io.EOF
	}
	return copy(p, m.data[off:]), nil
}

func (m *memDisk) WriteAt(p []byte, off int64) (int, error) {
	if err := m.pass(); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if off+int64(len(p)) > int64(len(m.data)) {
		return 0, disk.ErrRange
	}
	return copy(m.data[off:], p), nil
}

func (m *memDisk) Flush() error {
	if err := m.pass(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flushes++
	return nil
}

func (m *memDisk) flushCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.flushes
}

func (m *memDisk) Discard(off, n int64) error { return m.WriteZeroes(off, n, true) }

func (m *memDisk) WriteZeroes(off, n int64, _ bool) error {
	if err := m.pass(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if off+n > int64(len(m.data)) {
		return disk.ErrRange
	}
	clear(m.data[off : off+n])
	return nil
}

func (m *memDisk) Size() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(len(m.data))
}

func (m *memDisk) Resize(size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.data = append(m.data, make([]byte, size-int64(len(m.data)))...)
	return nil
}

func (m *memDisk) Alignment() int { return 1 }
func (m *memDisk) ReadOnly() bool { return m.readOnly }
func (m *memDisk) Close() error   { m.closed = true; return nil }

// fileDisk is a memDisk whose reads and writes go to a file of any kind.
type fileDisk struct {
	memDisk
	file *os.File
}

func (f *fileDisk) File() *os.File { return f.file }
func (f *fileDisk) Close() error   { return f.file.Close() }

// kinds are the ways in which requests are carried out; the tables run over all.
var kinds = []struct {
	name   string
	engine Engine
	direct bool
	memory bool
}{
	{name: "io_uring", engine: EngineIOURing},
	{name: "io_uring direct", engine: EngineIOURing, direct: true},
	{name: "workers", engine: EngineWorkers},
	{name: "workers direct", engine: EngineWorkers, direct: true},
	{name: "not a file", engine: EngineAuto, memory: true},
}

// eachKind runs a test on a disk of the given content with each kind. size is what
// the file has in the end.
func eachKind(t *testing.T, content []byte, test func(t *testing.T, cfg Config, now func() []byte)) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			cfg := Config{Engine: k.engine, ID: "disk0"}
			if k.memory {
				m := &memDisk{data: bytes.Clone(content)}
				cfg.Disk = m
				test(t, cfg, func() []byte { m.mu.Lock(); defer m.mu.Unlock(); return bytes.Clone(m.data) })
				return
			}
			if k.direct && len(content)%MaxBlockSize != 0 {
				return // guest/disk refuses those
			}
			path := newImage(t, content)
			var err error
			if cfg.Disk, err = disk.Open(path, disk.Options{Direct: k.direct}); err != nil {
				t.Fatal(err)
			}
			test(t, cfg, func() []byte {
				p, err := os.ReadFile(path)
				if err != nil {
					t.Error(err)
				}
				return p
			})
		})
	}
}

func openImage(t testing.TB, content []byte, direct bool) disk.Disk {
	t.Helper()
	d, err := disk.Open(newImage(t, content), disk.Options{Direct: direct})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newImage(t testing.TB, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// pattern is n bytes that differ from sector to sector.
func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i>>9)*31 + byte(i) + 1
	}
	return p
}

// guest is a driver of the device.
type guest struct {
	*virtiotest.Driver
	t   testing.TB
	dev *Device
	log *lockedBuffer
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newGuest(t testing.TB, cfg Config) *guest {
	t.Helper()
	log := &lockedBuffer{}
	cfg.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	dev, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &guest{Driver: virtiotest.New(t, dev), t: t, dev: dev, log: log}
}

// start is newGuest with all features.
func start(t testing.TB, cfg Config) *guest {
	t.Helper()
	g := newGuest(t, cfg)
	g.Start(virtiotest.AllFeatures)
	return g
}

func header(kind uint32, sector uint64) []byte {
	h := make([]byte, headerSize)
	binary.LittleEndian.PutUint32(h[0:], kind)
	binary.LittleEndian.PutUint64(h[8:], sector)
	return h
}

func rangeOf(sector uint64, count, flags uint32) []byte {
	p := make([]byte, spanSize)
	binary.LittleEndian.PutUint64(p[0:], sector)
	binary.LittleEndian.PutUint32(p[8:], count)
	binary.LittleEndian.PutUint32(p[12:], flags)
	return p
}

// submit makes a request available; in are the sizes of its data buffers to fill.
func (g *guest) submit(q int, kind uint32, sector uint64, out [][]byte, in ...int) *virtiotest.Request {
	g.t.Helper()
	return g.Queue(q).Submit(append([][]byte{header(kind, sector)}, out...), append(in, 1)...)
}

// status is what came of a request.
func status(r *virtiotest.Request) byte {
	all := r.AllWritable()
	return all[len(all)-1]
}

// do is a request from start to end, which gives its status and what it read.
func (g *guest) do(kind uint32, sector uint64, out [][]byte, in ...int) (byte, []byte) {
	g.t.Helper()
	r := g.submit(0, kind, sector, out, in...)
	r.Writable(len(in))[0] = 0xEE // no answer is this
	g.Queue(0).Kick()
	g.Queue(0).Wait(r)
	all := r.AllWritable()
	return all[len(all)-1], all[:len(all)-1]
}

func (g *guest) read(sector uint64, sizes ...int) []byte {
	g.t.Helper()
	s, p := g.do(typeIn, sector, nil, sizes...)
	if s != statusOK {
		g.t.Fatalf("read at sector %d: status %d\n%s", sector, s, g.log)
	}
	return p
}

func (g *guest) write(sector uint64, parts ...[]byte) {
	g.t.Helper()
	if s, _ := g.do(typeOut, sector, parts); s != statusOK {
		g.t.Fatalf("write at sector %d: status %d\n%s", sector, s, g.log)
	}
}

func (g *guest) wantLogged(n int, words string) {
	g.t.Helper()
	if got := strings.Count(g.log.String(), words); got != n {
		g.t.Errorf("%q is logged %d times, want %d:\n%s", words, got, n, g.log)
	}
}
