package balloon

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gureum/gureum/virtio"
	"github.com/gureum/gureum/virtio/queue"
	"github.com/gureum/gureum/virtio/virtiotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newDevice(t testing.TB, c Config) *Device {
	t.Helper()
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// numbers is a request of the inflate and deflate queues.
func numbers(pages ...uint32) []byte {
	var b []byte
	for _, p := range pages {
		b = binary.LittleEndian.AppendUint32(b, p)
	}
	return b
}

func TestInflateTakesPagesAway(t *testing.T) {
	dev := newDevice(t, Config{})
	d := virtiotest.New(t, dev)
	d.Start(virtiotest.AllFeatures)
	const base = 40 << 20
	mem, err := d.Memory.Slice(base, 6*PageSize)
	if err != nil {
		t.Fatal(err)
	}
	for i := range mem {
		mem[i] = 1
	}
	const first = base / PageSize
	// Down, up, alone, a page that does not exist, and half a number at the end.
	req := append(numbers(first+2, first+1, first+3, first+5, 0xFFFF_FFF0), 1, 2)
	q := d.Queue(queueInflate)
	if _, n := q.Do([][]byte{req[:6], req[6:]}); n != 0 {
		t.Errorf("%d bytes written", n)
	}
	for i, want := range []byte{1, 0, 0, 0, 1, 0} {
		if mem[i*PageSize] != want || mem[(i+1)*PageSize-1] != want {
			t.Errorf("page %d starts with %d, want %d", i, mem[i*PageSize], want)
		}
	}
	if b, r := dev.Returned(); b != 4*PageSize || r != 0 {
		t.Errorf("%d bytes returned by the balloon, %d by reporting", b, r)
	}
	if dev.Failures() != 1 {
		t.Errorf("%d failures, want that of the page that does not exist", dev.Failures())
	}
	d.Queue(queueDeflate).Do([][]byte{numbers(first + 2)})
	mem[2*PageSize] = 3
}

func TestReportingGivesFreePagesBack(t *testing.T) {
	dev := newDevice(t, Config{})
	d := virtiotest.New(t, dev)
	d.Start(virtiotest.AllFeatures)
	gpa, mem := d.Alloc(4 * PageSize)
	for i := range mem {
		mem[i] = 1
	}
	q := d.Queue(queueReporting)
	q.WriteDesc(0, virtiotest.Descriptor{Addr: gpa, Len: 4 * PageSize, Flags: virtiotest.FlagWrite})
	q.Publish(0)
	q.Kick()
	d.Eventually("the report is answered", func() bool { return q.UsedIndex() == 1 })
	if !bytes.Equal(mem[PageSize:3*PageSize], make([]byte, 2*PageSize)) {
		t.Error("reported pages are still there")
	}
}

// TestQueueNumbers has drivers that number their queues in either way.
func TestQueueNumbers(t *testing.T) {
	var q [numQueues]*queue.Queue
	for i := range q {
		q[i] = &queue.Queue{}
	}
	const stats, reporting = 1 << FeatureStats, 1 << FeatureReporting
	for _, tt := range []struct {
		name             string
		features         uint64
		queues           []*queue.Queue
		stats, reporting *queue.Queue
	}{
		{"by the specification", stats | reporting, []*queue.Queue{q[0], q[1], q[2], nil, q[4]}, q[2], q[4]},
		{"closed up", stats | reporting, []*queue.Queue{q[0], q[1], q[2], q[3], nil}, q[2], q[3]},
		{"all enabled", stats | reporting, q[:], q[2], q[4]},
		{"no statistics", reporting, []*queue.Queue{q[0], q[1], nil, nil, q[4]}, nil, q[4]},
		{"no statistics, closed up", reporting, []*queue.Queue{q[0], q[1], q[2], nil, nil}, nil, q[2]},
		{"no reporting", stats, q[:], q[2], nil},
		{"nothing", 0, q[:], nil, nil},
		{"not enabled", stats | reporting, make([]*queue.Queue, numQueues), nil, nil},
	} {
		s, r := roles(&virtio.Activation{Features: tt.features, Queues: tt.queues})
		if s != tt.stats || r != tt.reporting {
			t.Errorf("%s: statistics %v, reporting %v", tt.name, s == tt.stats, r == tt.reporting)
		}
	}
}

func TestTarget(t *testing.T) {
	dev := newDevice(t, Config{Target: 16 << 20})
	d := virtiotest.New(t, dev)
	read := func() uint32 {
		var b [4]byte
		d.Core.ReadConfig(configNumPages, b[:])
		return binary.LittleEndian.Uint32(b[:])
	}
	if read() != 4096 {
		t.Errorf("target of %d pages", read())
	}
	d.Start(virtiotest.AllFeatures)
	if err := dev.SetTarget(1 << 20); err != nil {
		t.Fatal(err)
	}
	if read() != 256 || d.ConfigInterrupts() != 1 {
		t.Errorf("target of %d pages, %d interrupts", read(), d.ConfigInterrupts())
	}
	for _, wrong := range []uint64{1, PageSize << 32} {
		if dev.SetTarget(wrong) == nil {
			t.Errorf("a target of %d bytes is taken", wrong)
		}
	}
	d.Core.WriteConfig(configActual, []byte{0, 1, 0, 0})
	d.Core.WriteConfig(configNumPages, []byte{9, 9, 9, 9})
	d.Core.WriteConfig(1<<63, []byte{9})
	if dev.Actual() != 1<<20 || dev.Target() != 1<<20 {
		t.Errorf("actual %d, target %d", dev.Actual(), dev.Target())
	}
	d.Reset()
	if dev.Actual() != 0 {
		t.Error("a guest without a driver has a balloon")
	}
	if err := dev.SetTarget(0); err != nil {
		t.Fatal(err)
	}
}

func entry(tag Stat, v uint64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint16(nil, uint16(tag)), v)
}

func TestStats(t *testing.T) {
	dev := newDevice(t, Config{})
	if _, err := dev.Stats(t.Context()); !errors.Is(err, errNotActive) {
		t.Errorf("without a driver: %v", err)
	}
	d := virtiotest.New(t, dev)
	d.Start(virtiotest.AllFeatures)
	q := d.Queue(queueStats)
	// The first buffer comes unasked.
	r := q.Submit([][]byte{append(entry(FreeMemory, 5<<20), entry(999, 7)...)})
	q.Kick()
	d.Eventually("first statistics", func() bool { s := dev.Latest(); return !s.Time.IsZero() })
	go func() {
		q.Wait(r)
		q.Submit([][]byte{append(entry(FreeMemory, 4<<20), append(entry(SwapIn, ^uint64(0)), 1, 2, 3)...)})
		q.Kick()
	}()
	s, err := dev.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := map[Stat]uint64{}
	for which, v := range s.All {
		all[which] = v
	}
	if len(all) != 1 || all[FreeMemory] != 4<<20 {
		t.Errorf("%v", all)
	}
	if _, ok := s.Get(numStats); ok || FreeMemory.String() != "free" || numStats.String() != "unknown" {
		t.Error("names and bounds")
	}
	// A guest that does not answer.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := dev.Stats(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestResetEndsAWaitForStats(t *testing.T) {
	dev := newDevice(t, Config{})
	d := virtiotest.New(t, dev)
	d.Start(virtiotest.AllFeatures)
	ended := make(chan error)
	go func() {
		_, err := dev.Stats(context.Background())
		ended <- err
	}()
	time.Sleep(time.Millisecond)
	d.Reset()
	if err := <-ended; !errors.Is(err, errNotActive) {
		t.Error(err)
	}
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	dev := newDevice(t, Config{})
	d := virtiotest.New(t, dev)
	r := &running{device: dev, memory: d.Memory}
	i := newInflater(r)
	_, mem := d.Alloc(1 << 20)
	pages := numbers(9000, 9001, 9007, 9006, 3)
	inflate := queue.Chain{Readable: [][]byte{pages}, ReadLen: uint64(len(pages))}
	report := queue.Chain{Writable: [][]byte{mem, mem[:8192]}}
	if n := testing.AllocsPerRun(100, func() {
		_, _ = i.handle(&inflate)
		_, _ = r.report(&report)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestHostileDriver breaks every rule there is; see virtiotest.Hammer.
func TestHostileDriver(t *testing.T) {
	for seed := range uint64(4) {
		virtiotest.Hammer(t, func() virtio.Device { return newDevice(t, Config{}) }, 5000, seed,
			numbers(8000, 8001, 9), entry(FreeMemory, 1))
	}
}
