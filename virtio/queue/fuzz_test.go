package queue

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/gureum/gureum/kvm"
)

// FuzzQueue lets the fuzzer write guest memory, rings included, between the steps
// of a device, and holds what must be true whatever the driver does:
//
//   - every view that the device gets lies in guest memory,
//   - each head is under way at most once, so no more chains are than descriptors,
//   - a chain is given only after the available index has moved past it,
//   - the used index moves by one for each chain given back,
//   - nothing comes out of a broken queue, nothing is written to its rings, it
//     raises no interrupt, and it breaks once.
func FuzzQueue(f *testing.F) {
	le := binary.LittleEndian
	op := func(kind byte, at uint16, value uint64) []byte {
		b := le.AppendUint16([]byte{kind}, at)
		return le.AppendUint64(b, value)
	}
	join := func(ops ...[]byte) (all []byte) {
		for _, o := range ops {
			all = append(all, o...)
		}
		return all
	}
	const flags = testDesc + 8
	good := join(op(0, testDesc, testBuffers), op(0, flags, 64|flagWrite<<32), op(0, testAvail, 1<<16), op(1, 0, 0), op(2, 0, 7))
	f.Add(false, good)
	f.Add(true, join(good, op(0, testAvail, 2<<16), op(1, 0, 0)))
	f.Add(false, join(op(0, testAvail, 99<<16), op(1, 0, 0), op(1, 0, 0)))
	f.Add(true, join(op(0, testDesc, 0x2000), op(0, flags, 32|flagIndirect<<32), op(0, 0x2000, 0x2000), op(0, 0x2008, 16|flagIndirect<<32), op(0, testAvail, 1<<16), op(1, 0, 0)))
	f.Add(false, join(op(0, testDesc, testBuffers), op(0, flags, 64|flagNext<<32), op(0, testAvail, 1<<16), op(1, 0, 0)))

	kick, err := kvm.NewEventFD()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = kick.Close() })
	// One step writes below 64 KiB, and a fuzzer has better to do than to clear more.
	mem := make(heap, 1<<16+4096)
	f.Fuzz(func(t *testing.T, features bool, script []byte) {
		const size, stepSize = 8, 11
		clear(mem)
		breaks, interrupts := 0, 0
		q, err := New(mem, Config{
			Size: size, Desc: testDesc, Driver: testAvail, Device: testUsed, EventIdx: features, Indirect: features,
			Kick: kick, Interrupt: func() { interrupts++ }, Broken: func(error) { breaks++ },
		})
		if err != nil {
			t.Fatal(err)
		}
		var underWay []uint16
		var c Chain
		used, taken := uint16(0), uint16(0)
		for ; len(script) >= stepSize; script = script[stepSize:] {
			at, value := int(le.Uint16(script[1:])), le.Uint64(script[3:])
			switch script[0] % 4 {
			case 0:
				le.PutUint64(mem[at:], value)
				// The device owns the used index; what it wrote is looked at below.
				store16(mem[testUsed+2:], used)
			case 1:
				index := load16(mem[testAvail+2:])
				ok, err := q.Next(&c)
				if (err != nil) != (breaks > 0) || ok && err != nil {
					t.Fatalf("Next: %v, %v after %d breaks", ok, err, breaks)
				}
				if !ok {
					continue
				}
				if index == taken {
					t.Fatal("a chain that was not made available")
				}
				taken++
				checkChain(t, mem, &c, size)
				if slices.Contains(underWay, c.Head) {
					t.Fatalf("head %d is under way twice", c.Head)
				}
				underWay = append(underWay, c.Head)
				if len(underWay) != q.UnderWay() || len(underWay) > size {
					t.Fatalf("%d chains under way in a queue of %d, it says %d", len(underWay), size, q.UnderWay())
				}
			case 2:
				if len(underWay) == 0 {
					continue
				}
				q.Put(underWay[0], uint32(value))
				if breaks > 0 {
					if load16(mem[testUsed+2:]) != used {
						t.Fatal("a broken queue's used ring was written")
					}
					continue
				}
				elem := mem[testUsed+usedHead+usedElem*int(used%size):]
				if used++; load16(mem[testUsed+2:]) != used || le.Uint32(elem) != uint32(underWay[0]) || le.Uint32(elem[4:]) != uint32(value) {
					t.Fatal("the used ring is not what was put there")
				}
				underWay = underWay[1:]
			case 3:
				before := interrupts
				q.Flush()
				q.EnableKicks()
				q.DisableKicks()
				if interrupts > before+1 || interrupts > before && breaks > 0 {
					t.Fatal("an interrupt of a broken queue, or several interrupts for one flush")
				}
			}
		}
		if breaks > 1 {
			t.Fatalf("broke %d times", breaks)
		}
	})
}

// checkChain holds that a chain is no larger than the rules allow and lies in memory.
func checkChain(t *testing.T, mem heap, c *Chain, size int) {
	if len(c.Readable)+len(c.Writable) > size {
		t.Fatalf("a chain of %d parts in a queue of %d", len(c.Readable)+len(c.Writable), size)
	}
	var sums [2]uint64
	for i, parts := range [][][]byte{c.Readable, c.Writable} {
		for _, p := range parts {
			if len(p) == 0 || !inside(mem, p) {
				t.Fatal("a part that is empty or not in guest memory")
			}
			sums[i] += uint64(len(p))
		}
	}
	if sums[0] != c.ReadLen || sums[1] != c.WriteLen || sums[0]+sums[1] > mem.Size() {
		t.Fatalf("parts of %v bytes, the chain says %d and %d", sums, c.ReadLen, c.WriteLen)
	}
}
