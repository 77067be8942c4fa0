package partition

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"
)

const diskSize = 1 << 20

// table is a GPT with one partition, for sectors of a size; spoil changes it before its
// sums are made.
func table(sector int, spoil func(header, entry []byte)) []byte {
	le := binary.LittleEndian
	p := make([]byte, diskSize)
	h, e := p[sector:sector+headerSize], p[2*sector:]
	copy(e, "type of partition")
	copy(e[16:], []byte{0xf2, 0x72, 0xcd, 0x6e, 0x0e, 0x3e, 0x5c, 0x4c, 0x9b, 0x4c, 1, 2, 3, 4, 5, 6})
	le.PutUint64(e[32:], 64)
	le.PutUint64(e[40:], 127)
	copy(h, signature)
	le.PutUint32(h[12:], headerSize)
	le.PutUint64(h[72:], 2)
	le.PutUint32(h[80:], 128)
	le.PutUint32(h[84:], entrySize)
	spoil(h, e)
	le.PutUint32(h[88:], crc32.ChecksumIEEE(p[2*sector:2*sector+128*entrySize]))
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h))
	return p
}

func TestRead(t *testing.T) {
	for _, sector := range sectorSizes {
		p := table(int(sector), func(_, _ []byte) {})
		list, err := Read(bytes.NewReader(p), diskSize)
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		got := list[0]
		if got.Number != 1 || got.Offset != 64*sector || got.Size != 64*sector || got.ID() != "6ecd72f2-3e0e-4c5c-9b4c-010203040506" {
			t.Errorf("%+v, %s", got, got.ID())
		}
	}
}

func TestBadTables(t *testing.T) {
	le := binary.LittleEndian
	for name, spoil := range map[string]func(h, e []byte){
		"partition behind the end":  func(_, e []byte) { le.PutUint64(e[40:], diskSize/512) },
		"partition ends before":     func(_, e []byte) { le.PutUint64(e[40:], 10) },
		"partition of all sectors":  func(_, e []byte) { le.PutUint64(e[40:], 1<<64-1) },
		"table behind the end":      func(h, _ []byte) { le.PutUint64(h[72:], 1<<63) },
		"too many entries":          func(h, _ []byte) { le.PutUint32(h[80:], 1<<31) },
		"entries of another length": func(h, _ []byte) { le.PutUint32(h[84:], 64) },
		"header of another length":  func(h, _ []byte) { le.PutUint32(h[12:], 512) },
	} {
		if list, err := Read(bytes.NewReader(table(512, spoil)), diskSize); !errors.Is(err, ErrNone) {
			t.Errorf("%s: %v, %v", name, list, err)
		}
	}
	p := table(512, func(_, _ []byte) {})
	p[2*512]++
	if _, err := Read(bytes.NewReader(p), diskSize); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
	if _, err := Read(bytes.NewReader(nil), 0); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
}
