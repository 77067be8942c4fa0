package pci

import (
	"encoding/binary"
	"errors"

	"github.com/gureum/gureum/devices/pci"
	"github.com/gureum/gureum/kvm"
)

var _ pci.Handler = (*Transport)(nil)

// ReadBAR implements pci.Handler.
func (t *Transport) ReadBAR(_ int, offset uint64, data []byte) {
	switch {
	case offset < isrAt:
		t.readCommon(offset, data)
	case offset == isrAt:
		clear(data)
		// Reading clears (section 4.1.4.5).
		data[0] = byte(t.isr.Swap(0))
	case offset >= deviceAt && offset < deviceAt+deviceSize:
		t.core.ReadConfig(offset-deviceAt, data)
	case offset >= tableAt && offset < pendingAt:
		t.msix.ReadTable(offset-tableAt, data)
	case offset >= pendingAt:
		t.msix.ReadPending(offset-pendingAt, data)
	default:
		clear(data)
	}
}

// WriteBAR implements pci.Handler.
func (t *Transport) WriteBAR(_ int, offset uint64, data []byte) {
	switch {
	case offset < isrAt:
		t.writeCommon(offset, data)
	case offset >= deviceAt && offset < deviceAt+deviceSize:
		t.core.WriteConfig(offset-deviceAt, data)
	case offset >= notifyAt && offset < notifyAt+notifySize:
		// A doorbell that no ioeventfd answers: see MapBAR.
		if n := (offset - notifyAt) / notifyStride; n < uint64(len(t.kicks)) && offset%notifyStride == 0 {
			_ = t.kicks[n].Signal()
		}
	case offset >= tableAt && offset < pendingAt:
		t.msix.WriteTable(offset-tableAt, data)
	}
}

// MapBAR implements pci.Handler: the doorbells are where the BAR is. Where KVM
// refuses one, the write comes to WriteBAR, which is slower and no different.
func (t *Transport) MapBAR(_ int, gpa uint64, on bool) {
	if !on {
		_ = t.silence()
		return
	}
	for n, kick := range t.kicks {
		// No length and no match: KVM then need not look at the instruction.
		bell := kvm.IOEventFD{Event: kick, Addr: gpa + notifyAt + uint64(n)*notifyStride}
		if t.cfg.VM.IOEventFD(bell) == nil {
			t.doorbells = append(t.doorbells, bell)
		}
	}
}

// silence takes all doorbells away.
func (t *Transport) silence() error {
	var errs []error
	for _, bell := range t.doorbells {
		errs = append(errs, t.cfg.VM.RemoveIOEventFD(bell))
	}
	t.doorbells = t.doorbells[:0]
	return errors.Join(errs...)
}

// BeforeRead implements pci.Handler: the data of the PCI access capability is what
// it points to (section 4.1.4.9).
func (t *Transport) BeforeRead(offset, size int) {
	if place, n, ok := t.windowAccess(offset, size); ok {
		var data [capDataSize]byte
		t.ReadBAR(bar, place, data[:n])
		t.function.SetConfig(t.window+capData, data[:n])
	}
}

// AfterWrite implements pci.Handler.
func (t *Transport) AfterWrite(offset, size int) {
	t.msix.AfterWrite(t.function, offset, size)
	if place, n, ok := t.windowAccess(offset, size); ok {
		var data [capDataSize]byte
		t.function.Config(t.window+capData, data[:])
		t.WriteBAR(bar, place, data[:n])
	}
}

// windowAccess tells whether an access to the configuration space is one to the
// BAR, and to what of it: 1, 2 or 4 aligned bytes.
func (t *Transport) windowAccess(offset, size int) (place uint64, n int, ok bool) {
	if offset >= t.window+capData+capDataSize || offset+size <= t.window+capData {
		return 0, 0, false
	}
	var c [capSize]byte
	t.function.Config(t.window, c[:])
	at := binary.LittleEndian.Uint32(c[capOffset:])
	length := binary.LittleEndian.Uint32(c[capLength:])
	switch length {
	case 1, 2, 4:
	default:
		return 0, 0, false
	}
	if c[capBAR] != bar || at%length != 0 || at > barSize-length {
		return 0, 0, false
	}
	return uint64(at), int(length), true
}
