package tap

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Queues that one process opened work for another that does not see the interface; the
// other one is this one here.
func TestKVMHandOver(t *testing.T) {
	owner := open(t, 2, 0)
	if err := owner.SetPairs(1); err != nil {
		t.Fatal(err)
	}
	files, err := Attach(owner.Name(), 2)
	if err != nil {
		t.Fatal(err)
	}
	got, err := FromFiles(owner.Name(), files)
	if err != nil {
		t.Fatal(err)
	}
	if got.Pairs() != 2 || got.Made() || got.Offloads() == 0 {
		t.Errorf("%d queues, made %v, offloads %#x", got.Pairs(), got.Made(), got.Offloads())
	}
	w := newWire(t, owner)
	for pair := range 2 {
		out := frame(broadcast, 300, byte(pair))
		if _, err := got.Writev(pair, [][]byte{make([]byte, headerSize), out}, false); err != nil {
			t.Fatal(err)
		}
		if in := w.receive(); !bytes.Equal(in, out) {
			t.Errorf("queue %d: the host received % x", pair, in)
		}
	}
	if err := got.Close(); err != nil {
		t.Error(err)
	}
	for _, f := range files {
		if _, err := f.Stat(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("a file that was handed over is open: %v", err)
		}
	}
}

func TestKVMAttachRefuses(t *testing.T) {
	if _, err := Attach("gurnone", 1); !errors.Is(err, unix.ENODEV) || exists("gurnone") {
		t.Errorf("an interface that is not there: %v", err)
	}
	if _, err := FromFiles("gurnone", nil); err == nil {
		t.Error("no queue is enough")
	}
	one := open(t, 1, 0)
	if _, err := Attach(one.Name(), 1); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a tap whose only queue is in use: %v", err)
	}
}
