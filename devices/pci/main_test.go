package pci

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/gureum/gureum/kvm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeBad is data of a message that a fakeVM refuses.
const fakeBad = 0xBAD

// fakeVM keeps what a VM was told.
type fakeVM struct {
	mu     sync.Mutex
	routes []kvm.Route
	bound  map[uint32]*kvm.EventFD
	sets   int
	refuse bool
}

func newFakeVM() *fakeVM { return &fakeVM{bound: map[uint32]*kvm.EventFD{}} }

func (f *fakeVM) SetGSIRouting(r []kvm.Route) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sets++
	if f.refuse || slices.ContainsFunc(r, func(r kvm.Route) bool { return r.MSI.Data == fakeBad }) {
		return errors.New("refused")
	}
	f.routes = slices.Clone(r)
	return nil
}

func (f *fakeVM) IRQFD(e *kvm.EventFD, gsi uint32) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bound[gsi] != nil {
		return errors.New("bound twice")
	}
	f.bound[gsi] = e
	return nil
}

func (f *fakeVM) RemoveIRQFD(e *kvm.EventFD, gsi uint32) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bound[gsi] != e {
		return errors.New("not bound")
	}
	delete(f.bound, gsi)
	return nil
}

// route is where a GSI leads.
func (f *fakeVM) route(gsi uint32) (kvm.MSI, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.routes {
		if r.GSI == gsi && r.Kind == kvm.RouteMSI {
			return r.MSI, true
		}
	}
	return kvm.MSI{}, false
}

// recorder is a Handler that keeps what it was told.
type recorder struct {
	where  map[int]uint64 // BARs that answer
	moves  int
	writes []uint64
	value  byte
}

func newRecorder() *recorder { return &recorder{where: map[int]uint64{}} }

func (r *recorder) ReadBAR(_ int, offset uint64, data []byte) {
	for i := range data {
		data[i] = r.value + byte(offset) + byte(i)
	}
}
func (r *recorder) WriteBAR(_ int, offset uint64, _ []byte) { r.writes = append(r.writes, offset) }
func (r *recorder) BeforeRead(int, int)                     {}
func (r *recorder) AfterWrite(int, int)                     {}

func (r *recorder) MapBAR(bar int, gpa uint64, on bool) {
	r.moves++
	if on {
		r.where[bar] = gpa
		return
	}
	if r.where[bar] != gpa {
		panic("a BAR was taken from where it was not")
	}
	delete(r.where, bar)
}
