package kvm

import (
	"encoding/binary"
	"slices"
	"testing"
)

// fakeVCPU has a run page but no kernel behind it.
func fakeVCPU(run []byte) *VCPU {
	return &VCPU{fd: newDescriptor(-1), vm: newVM(-1, len(run)), run: run}
}

func newRun(reason ExitReason, union ...any) []byte {
	run := make([]byte, 3*pageSize)
	binary.LittleEndian.PutUint32(run[runExitReason:], uint32(reason))
	b := run[runUnion:runUnion]
	for _, field := range union {
		b, _ = binary.Append(b, binary.LittleEndian, field)
	}
	return run
}

func TestDecodeIO(t *testing.T) {
	const room = 3*pageSize - pageSize
	for _, c := range []struct {
		name      string
		direction uint8
		size      uint8
		count     uint32
		offset    uint64
		data      int
	}{
		{"in byte", 0, 1, 1, pageSize, 1},
		{"out word", 1, 2, 1, pageSize, 2},
		{"string", 1, 4, 1024, pageSize, 4096},
		{"to the end", 1, 1, room, pageSize, room},
		{"past the end", 1, 1, room + 1, pageSize, 0},
		{"count overflows", 1, 255, 1<<32 - 1, pageSize, 0},
		{"offset past the end", 1, 1, 1, 3*pageSize + 1, 0},
		{"offset overflows", 1, 4, 1, 1<<64 - 1, 0},
		{"nothing", 1, 0, 0, 0, 0},
	} {
		v := fakeVCPU(newRun(ExitIO, c.direction, c.size, uint16(0x3f8), c.count, c.offset))
		e := v.IO()
		if e.In != (c.direction == 0) || e.Size != int(c.size) || e.Count != int(c.count) || e.Port != 0x3f8 || len(e.Data) != c.data {
			t.Errorf("%s: %+v", c.name, e)
		}
		if c.data > 0 {
			e.Data[0] = 0xA5
			if v.run[c.offset] != 0xA5 {
				t.Errorf("%s: data does not alias the run page", c.name)
			}
		}
	}
}

func TestDecodeMMIO(t *testing.T) {
	for _, c := range []struct{ length, want uint32 }{{1, 1}, {8, 8}, {9, 8}, {1<<32 - 1, 8}, {0, 0}} {
		v := fakeVCPU(newRun(ExitMMIO, uint64(0xFEE00000), [8]byte{1, 2}, c.length, uint8(1)))
		e := v.MMIO()
		if e.Addr != 0xFEE00000 || !e.Write || len(e.Data) != int(c.want) || cap(e.Data) != len(e.Data) {
			t.Errorf("length %d: %+v", c.length, e)
		}
	}
	v := fakeVCPU(newRun(ExitMMIO, uint64(4), [8]byte{}, uint32(4), uint8(0)))
	e := v.MMIO()
	e.Data[3] = 7
	if e.Write || v.run[runUnion+8+3] != 7 {
		t.Errorf("read: %+v does not alias the run page", e)
	}
}

func TestDecodeInternalError(t *testing.T) {
	code := [15]byte{0x0f, 0xc7, 0x0f}
	v := fakeVCPU(newRun(ExitInternalError, InternalErrorEmulation, uint32(3), uint64(1), uint8(3), code))
	e := v.InternalError()
	if e.SubError != InternalErrorEmulation || e.CodeLen != 3 || e.Code != code || e.N != 3 {
		t.Errorf("emulation: %+v", e)
	}
	v = fakeVCPU(newRun(ExitInternalError, InternalErrorEmulation, uint32(3), uint64(0), uint8(3), code))
	if e := v.InternalError(); e.CodeLen != 0 {
		t.Errorf("emulation without the instruction: %+v", e)
	}
	v = fakeVCPU(newRun(ExitInternalError, InternalErrorEmulation, uint32(3), uint64(1), uint8(200), code))
	if e := v.InternalError(); e.CodeLen != 15 {
		t.Errorf("instruction of 200 bytes: %+v", e)
	}
	v = fakeVCPU(newRun(ExitInternalError, InternalErrorDeliveryEvent, uint32(1000), uint64(7), uint64(8)))
	if e := v.InternalError(); e.N != 16 || e.Data[0] != 7 || e.Data[1] != 8 || e.CodeLen != 0 {
		t.Errorf("too much data: %+v", e)
	}
}

func TestDecodeOthers(t *testing.T) {
	v := fakeVCPU(newRun(ExitFailEntry, uint64(0x80000021), uint32(3)))
	if e := v.FailEntry(); e != (FailEntry{Reason: 0x80000021, CPU: 3}) {
		t.Errorf("fail entry: %+v", e)
	}
	v = fakeVCPU(newRun(ExitDebug, uint32(1), uint32(0), uint64(0x1003), uint64(0x4000), uint64(0x400)))
	if e := v.DebugExit(); e != (DebugExit{Exception: 1, PC: 0x1003, DR6: 0x4000, DR7: 0x400}) {
		t.Errorf("debug: %+v", e)
	}
	v = fakeVCPU(newRun(ExitSystemEvent, SystemEventReset, uint32(2), [2]uint64{5, 6}))
	if e := v.SystemEvent(); e.Type != SystemEventReset || e.N != 2 || !slices.Equal(e.Data[:3], []uint64{5, 6, 0}) {
		t.Errorf("system event: %+v", e)
	}
	v = fakeVCPU(newRun(ExitHypercall, uint64(12), [6]uint64{1, 2, 3, 4, 5, 6}, uint64(0), uint32(1)))
	if e := v.Hypercall(); e != (Hypercall{Nr: 12, Args: [6]uint64{1, 2, 3, 4, 5, 6}, LongMode: true}) {
		t.Errorf("hypercall: %+v", e)
	}
	v.AnswerHypercall(99)
	if v.u64(runUnion+hypercallRet) != 99 {
		t.Error("no answer to the hypercall")
	}
	v = fakeVCPU(newRun(ExitMemoryFault, uint64(8), uint64(0x2000), uint64(0x1000)))
	if e := v.MemoryFault(); e != (MemoryFault{Flags: 8, GPA: 0x2000, Size: 0x1000}) {
		t.Errorf("memory fault: %+v", e)
	}
	v = fakeVCPU(newRun(ExitUnknown, uint64(77)))
	if v.HardwareReason() != 77 || v.EOIVector() != 77 || v.Notify() != 77 {
		t.Error("hardware reason, EOI vector or notify flags")
	}
	copy(v.run[runReadyForIRQ:], []byte{1, 1, 2, 0, 9})
	if !v.ReadyForInterrupt() || !v.InterruptsEnabled() || v.RunFlags() != RunBusLock || v.CR8() != 9 || v.APICBase() != 0 {
		t.Error("state at exit")
	}
}

func TestDecodeMSR(t *testing.T) {
	fields := []any{[8]byte{1}, uint32(MSRReasonFilter), uint32(0xC0000080), uint64(5)}
	v := fakeVCPU(newRun(ExitWRMSR, fields...))
	want := MSRExit{Write: true, Reason: uint32(MSRReasonFilter), Index: 0xC0000080, Data: 5}
	if e := v.MSRExit(); e != want {
		t.Errorf("write: %+v", e)
	}
	v.AnswerMSR(6, false)
	if e := v.MSRExit(); e.Data != 5 || v.u8(runUnion+msrError) != 0 {
		t.Errorf("answer to a write: %+v", e)
	}
	v = fakeVCPU(newRun(ExitRDMSR, fields...))
	v.AnswerMSR(6, true)
	if e := v.MSRExit(); e.Write || e.Data != 6 || v.u8(runUnion+msrError) != 1 {
		t.Errorf("answer to a read: %+v", e)
	}
}

// TestAfterClose: what a vCPU gives after Close is empty, and no memory is touched.
func TestAfterClose(t *testing.T) {
	v := fakeVCPU(nil)
	v.fd.state.Store(closedBit)
	v.SetImmediateExit(true)
	v.RequestInterruptWindow(true)
	v.AnswerMSR(1, true)
	v.AnswerHypercall(1)
	if v.Exit() != ExitUnknown || len(v.IO().Data) != 0 || len(v.MMIO().Data) != 0 {
		t.Error("something is left after Close")
	}
	if _, ok := v.NextCoalesced(); ok || v.HarvestDirty(make([]DirtyPage, 1)) != 0 {
		t.Error("something is left in a ring after Close")
	}
}

func TestRunBytes(t *testing.T) {
	v := fakeVCPU(newRun(ExitIO))
	v.SetImmediateExit(true)
	v.RequestInterruptWindow(true)
	if !slices.Equal(v.run[:4], []byte{1, 1, 0, 0}) {
		t.Errorf("both set: % x", v.run[:4])
	}
	v.RequestInterruptWindow(false)
	if !slices.Equal(v.run[:4], []byte{0, 1, 0, 0}) {
		t.Errorf("one cleared: % x", v.run[:4])
	}
	v.SetImmediateExit(false)
	if !slices.Equal(v.run[:4], []byte{0, 0, 0, 0}) {
		t.Errorf("both cleared: % x", v.run[:4])
	}
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	v := fakeVCPU(newRun(ExitIO, uint8(1), uint8(1), uint16(0x3f8), uint32(1), uint64(pageSize)))
	sum := 0
	allocs := testing.AllocsPerRun(100, func() {
		e, m := v.IO(), v.MMIO()
		sum += len(e.Data) + len(m.Data) + int(v.Exit())
		v.SetImmediateExit(false)
		d, h, i := v.DebugExit(), v.Hypercall(), v.InternalError()
		sum += int(d.PC) + int(h.Nr) + i.N
	})
	if allocs != 0 || sum == 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// FuzzDecode: whatever stands in the run page, decoding stays inside of it.
func FuzzDecode(f *testing.F) {
	f.Add(newRun(ExitIO, uint8(1), uint8(4), uint16(0x3f8), uint32(3), uint64(pageSize))[:512])
	f.Add(newRun(ExitInternalError, uint32(1), uint32(4), uint64(1), uint8(15))[:512])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, head []byte) {
		run := make([]byte, 3*pageSize)
		copy(run, head)
		v := fakeVCPU(run)
		e := v.IO()
		for i := range e.Data {
			e.Data[i]++
		}
		if len(e.Data) != 0 && len(e.Data) != e.Size*e.Count {
			t.Errorf("%d bytes of %d times %d", len(e.Data), e.Count, e.Size)
		}
		if m := v.MMIO(); len(m.Data) > 8 {
			t.Errorf("MMIO of %d bytes", len(m.Data))
		}
		if i := v.InternalError(); i.N > 16 || i.CodeLen > 15 {
			t.Errorf("internal error %+v", i)
		}
		if s := v.SystemEvent(); s.N > 16 {
			t.Errorf("system event %+v", s)
		}
		_, _, _, _ = v.Hypercall(), v.MSRExit(), v.DebugExit(), v.FailEntry()
		for range 2 * coalescedSlots {
			if w, ok := v.NextCoalesced(); ok && w.Len > 8 {
				t.Errorf("coalesced write of %d bytes", w.Len)
			}
		}
	})
}
