package kvm

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// spin is a guest that does nothing for ever.
var spin = []byte{0xEB, 0xFE} // jmp $

func TestKVMImmediateExit(t *testing.T) {
	g := newGuest(t, []byte{0xE6, tellPort, 0xEB, 0xFC}, guestOptions{}) // again: out 0x80, al; jmp again
	g.told(0)
	g.vcpu.SetImmediateExit(true)
	for range 3 {
		if err := g.enter(); !errors.Is(err, ErrInterrupted) {
			t.Fatalf("run: %v", err)
		}
	}
	g.vcpu.SetImmediateExit(false)
	g.told(0)
}

// TestKVMKick sends kicks at random moments to a guest that never exits by itself. Each has to
// be answered: a wake-up lost between the check and KVM_RUN would leave the guest spinning.
func TestKVMKick(t *testing.T) {
	g := newGuest(t, spin, guestOptions{})
	const kicks = 400
	var asked atomic.Int64
	answered := make(chan int64)
	kicker := make(chan struct{})
	go func() {
		defer close(kicker)
		for n := int64(1); n <= kicks; n++ {
			time.Sleep(time.Duration(rand.IntN(50)) * time.Microsecond)
			asked.Store(n)
			g.kick()
			select {
			case got := <-answered:
				if got != n {
					t.Errorf("answer %d to kick %d", got, n)
				}
			case <-time.After(patience):
				t.Errorf("kick %d is lost", n)
				asked.Store(kicks)
				g.kick()
				<-answered
				return
			}
		}
	}()
	for seen := int64(0); seen < kicks; {
		err := g.vcpu.Run()
		if !errors.Is(err, ErrInterrupted) {
			t.Errorf("run: %v, exit %v", err, g.vcpu.Exit())
			break
		}
		g.vcpu.SetImmediateExit(false)
		if n := asked.Load(); n != seen {
			seen = n
			answered <- n
		}
	}
	<-kicker
}

func TestKVMCloseUnderRun(t *testing.T) {
	g := newGuest(t, spin, guestOptions{})
	go func() {
		time.Sleep(10 * time.Millisecond)
		if err := g.vcpu.Close(); err != nil {
			t.Error(err)
		}
		_ = unix.Tgkill(unix.Getpid(), g.tid, unix.SIGURG)
		g.vcpu.SetImmediateExit(true) // does nothing, harmlessly
	}()
	if err := g.vcpu.Run(); !errors.Is(err, ErrInterrupted) && !errors.Is(err, ErrClosed) {
		t.Errorf("run: %v", err)
	}
	if err := g.vcpu.Run(); !errors.Is(err, ErrClosed) {
		t.Errorf("run after Close: %v", err)
	}
	if _, err := g.vcpu.Regs(); !errors.Is(err, ErrClosed) {
		t.Errorf("registers after Close: %v", err)
	}
	if g.vcpu.Exit() != ExitUnknown {
		t.Errorf("exit after Close: %v", g.vcpu.Exit())
	}
}

func TestKVMRunDoesNotAllocate(t *testing.T) {
	g := newGuest(t, []byte{
		0xB8, 0x00, 0xB8, // mov ax, 0xb800
		0x8E, 0xD8, // mov ds, ax
		0xE6, 0x80, // again: out 0x80, al
		0xA2, 0x00, 0x00, // mov [0], al
		0xA0, 0x01, 0x00, // mov al, [1]
		0xEB, 0xF6, // jmp again
	}, guestOptions{})
	seen := map[ExitReason]int{ExitIO: 0, ExitMMIO: 0}
	reads := 0
	allocs := testing.AllocsPerRun(90, func() {
		err := g.vcpu.Run()
		if errors.Is(err, ErrInterrupted) {
			return
		}
		r := g.vcpu.Exit()
		switch r {
		case ExitIO:
			if e := g.vcpu.IO(); len(e.Data) == 1 {
				seen[r]++
			}
		case ExitMMIO:
			if e := g.vcpu.MMIO(); e.Write {
				seen[r]++
			} else {
				e.Data[0] = 0x11
				reads++
			}
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations for each exit", allocs)
	}
	if seen[ExitIO] < 20 || seen[ExitMMIO] < 20 || reads < 20 {
		t.Errorf("exits %v, %d reads", seen, reads)
	}
}

func TestKVMInterruptedRunDoesNotAllocate(t *testing.T) {
	g := newGuest(t, spin, guestOptions{})
	g.vcpu.SetImmediateExit(true)
	if n := testing.AllocsPerRun(100, func() { _ = g.vcpu.Run() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestKVMSignalMask(t *testing.T) {
	g := newGuest(t, []byte{0xE6, tellPort, 0xEB, 0xFC}, guestOptions{})
	check(t, g.vcpu.SetSignalMask(0))
	g.told(0)
	check(t, g.vcpu.ClearSignalMask())
	g.told(0)
}

// TestKVMInterruptWindow is how an interrupt is given without an in-kernel irqchip.
func TestKVMInterruptWindow(t *testing.T) {
	g := newGuest(t, []byte{0xE6, tellPort, 0xFB, 0x90, 0xEB, 0xFD}, guestOptions{}) // out 0x80, al; sti; again: nop; jmp again
	copy(g.ram[4*0x20:], []byte{0x00, 0x20, 0, 0})                                   // real-mode vector 0x20 is at 0:0x2000
	copy(g.ram[0x2000:], []byte{0xB0, 0x20, 0xE6, tellPort, 0xCF})                   // mov al, 0x20; out 0x80, al; iret
	g.told(0)
	if g.vcpu.InterruptsEnabled() || g.vcpu.ReadyForInterrupt() {
		t.Error("ready before sti")
	}
	g.vcpu.RequestInterruptWindow(true)
	g.run(ExitIRQWindowOpen)
	if !g.vcpu.InterruptsEnabled() || !g.vcpu.ReadyForInterrupt() {
		t.Error("not ready after sti")
	}
	g.vcpu.RequestInterruptWindow(false)
	check(t, g.vcpu.Interrupt(0x20))
	g.told(0x20)
}

func BenchmarkKVMPortExit(b *testing.B) {
	g := newGuest(b, []byte{0xE6, tellPort, 0xEB, 0xFC}, guestOptions{})
	b.ReportAllocs()
	for b.Loop() {
		if err := g.vcpu.Run(); err == nil && len(g.vcpu.IO().Data) != 1 {
			b.Fatal("no data")
		}
	}
}
