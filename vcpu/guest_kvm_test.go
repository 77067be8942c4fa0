package vcpu

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gureum/gureum/kvm"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// Where the tests' guests have their things.
const (
	guestRAM     = 1 << 20
	guestGDT     = 0x500
	guestCode    = 0x1000
	guestCounter = 0x3000
	guestAPCode  = 0x8000
	guestTables  = 0x9000

	reportPort = 0x500
	donePort   = 0x80
)

// Hand-assembled guests. The 32-bit ones are entered by PVH.
var (
	codePIO  = []byte{0x66, 0xBA, 0x00, 0x05, 0xEE, 0xEB, 0xFD}                                                 // mov dx, 0x500; l: out dx, al; jmp l
	codeMMIO = []byte{0xBB, 0x00, 0x00, 0x00, 0xD0, 0x89, 0x03, 0x8B, 0x43, 0x08, 0xEB, 0xF9}                   // mov ebx, 0xd0000000; l: mov [ebx], eax; mov eax, [ebx+8]; jmp l
	codeBusy = []byte{0xFF, 0x05, 0x00, 0x30, 0x00, 0x00, 0xEB, 0xF8}                                           // l: inc dword [0x3000]; jmp l
	codeHalt = []byte{0xFA, 0xF4, 0xEB, 0xFC}                                                                   // l: cli; hlt; jmp l
	codeSum  = []byte{0xBA, 0, 5, 0, 0, 0xED, 0x01, 0xC3, 0x41, 0x89, 0xC8, 0xEF, 0x89, 0xD8, 0xEF, 0xEB, 0xF4} // mov edx, 0x500; l: in eax, dx; add ebx, eax; inc ecx; mov eax, ecx; out dx, eax; mov eax, ebx; out dx, eax; jmp l
	codeUD   = []byte{0x0F, 0x0B}                                                                               // ud2, without an IDT
)

// codeWake sends INIT and SIPI to all others, who begin at guestAPCode in real mode.
var codeWake = []byte{
	0xBB, 0x00, 0x00, 0xE0, 0xFE, // mov ebx, 0xfee00000
	0xC7, 0x83, 0xF0, 0x00, 0x00, 0x00, 0xFF, 0x01, 0x00, 0x00, // mov dword [ebx+0xf0], 0x1ff: enable the LAPIC
	0xC7, 0x83, 0x00, 0x03, 0x00, 0x00, 0x00, 0x45, 0x0C, 0x00, // mov dword [ebx+0x300], 0xc4500: INIT
	0xC7, 0x83, 0x00, 0x03, 0x00, 0x00, 0x08, 0x46, 0x0C, 0x00, // mov dword [ebx+0x300], 0xc4608: SIPI, page 8
	0xF3, 0x90, 0xEB, 0xFC, // l: pause; jmp l
}

// codeAPPorts is codePIO for 16 bits.
var codeAPPorts = []byte{0xBA, 0x00, 0x05, 0xEE, 0xEB, 0xFD}

// testGuest is a machine of RAM and vCPUs.
type testGuest struct {
	*Group
	t   testing.TB
	sys *kvm.System
	vm  *kvm.VM
	ram []byte
}

// testBus calls functions, which run on vCPU threads.
type testBus struct {
	read, write func(addr uint64, data []byte)
}

func (b testBus) Read(addr uint64, data []byte) {
	if b.read != nil {
		b.read(addr, data)
	}
}

func (b testBus) Write(addr uint64, data []byte) {
	if b.write != nil {
		b.write(addr, data)
	}
}

func newTestGuest(t testing.TB, cfg Config, code []byte) *testGuest {
	t.Helper()
	leak := goleak.IgnoreCurrent()
	g := &testGuest{t: t}
	var err error
	g.ram, err = unix.Mmap(-1, 0, guestRAM, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	mustDo(t, err)
	t.Cleanup(func() {
		mustDo(t, unix.Munmap(g.ram))
		goleak.VerifyNone(t, leak)
	})
	g.sys, err = kvm.Open("")
	mustDo(t, err)
	t.Cleanup(func() { mustDo(t, g.sys.Close()) })
	g.vm, err = g.sys.CreateVM()
	mustDo(t, err)
	t.Cleanup(func() { mustDo(t, g.vm.Close()) })
	mustDo(t, g.vm.SetTSSAddr(0xFEFFD000), g.vm.SetIdentityMapAddr(0xFEFFC000), g.vm.CreateIRQChip())
	mustDo(t, g.vm.SetMemoryRegion(kvm.MemoryRegion{Size: guestRAM, HostAddr: hostAddr(g.ram)}))
	copy(g.ram[guestCode:], code)
	g.buildTables()
	if cfg.PIO == nil {
		cfg.PIO = testBus{}
	}
	if cfg.MMIO == nil {
		cfg.MMIO = testBus{}
	}
	cfg.CodeReader = func(gpa uint64, p []byte) error {
		if gpa > guestRAM-uint64(len(p)) {
			return errors.New("no memory there")
		}
		copy(p, g.ram[gpa:])
		return nil
	}
	cfg.CPUs = max(cfg.CPUs, 1)
	g.Group, err = New(g.sys, g.vm, cfg)
	mustDo(t, err)
	t.Cleanup(func() {
		within(t, 30*time.Second, "close", func() {
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		})
	})
	return g
}

// buildTables makes the GDT and the identity map of the 64-bit entry.
func (g *testGuest) buildTables() {
	put := binary.LittleEndian.PutUint64
	put(g.ram[guestGDT+bootCS:], 0x00AF9B000000FFFF)
	put(g.ram[guestGDT+bootDS:], 0x00CF93000000FFFF)
	const present, large = 3, 1 << 7
	put(g.ram[guestTables:], guestTables+0x1000|present)
	put(g.ram[guestTables+0x1000:], guestTables+0x2000|present)
	put(g.ram[guestTables+0x2000:], 0|present|large)
}

func (g *testGuest) startPVH() {
	g.t.Helper()
	mustDo(g.t, g.SetEntry(Entry{IP: guestCode, Arg: 0x6000}), g.Start())
}

// counter is what codeBusy counts.
func (g *testGuest) counter() uint32 {
	return atomic.LoadUint32(g.counterWord())
}
