package vm

import (
	"context"
	"testing"
	"time"

	"github.com/gureum/gureum/virtio/balloon"
)

// eventually polls until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(testTimeout); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s in vain: %s", testTimeout, what)
		}
	}
}

// TestKVMFreeMemoryGoesBack has a guest fill 100 MiB of a tmpfs and empty it. Linux
// reports free memory in blocks of 2 MiB (pageblock_order), so what is free between
// pages that are in use stays with the guest: up to 22 MiB of the 100 were seen.
func TestKVMFreeMemoryGoesBack(t *testing.T) {
	g := startLinux(t, Config{Memory: 512 << 20})
	before := residentMiB(t)
	g.sh("dd if=/dev/zero of=/tmp/x bs=1M count=100")
	full := residentMiB(t)
	if full < before+90 {
		t.Errorf("%d MiB resident before, %d MiB with 100 MiB more in use", before, full)
	}
	g.sh("rm /tmp/x")
	defer func() {
		if t.Failed() {
			t.Logf("resident: %d MiB before, %d MiB full, %d MiB now; %d MiB reported", before, full, residentMiB(t), g.BalloonState().Reported>>20)
			t.Log(g.sh("cat /proc/buddyinfo"))
		}
	}()
	eventually(t, "free memory goes back to the host", func() bool { return residentMiB(t) < full-67 })
	t.Logf("resident: %d MiB before, %d MiB full, %d MiB after; %d MiB reported",
		before, full, residentMiB(t), g.BalloonState().Reported>>20)
	// What went back is there again when it is wanted, and zero.
	g.sh("dd if=/dev/urandom of=/tmp/y bs=1M count=50; cp /tmp/y /tmp/z; cmp /tmp/y /tmp/z")
}

func TestKVMBalloonTakesAndGives(t *testing.T) {
	const size = 128 << 20
	g := startLinux(t, Config{Memory: 256 << 20, Balloon: Balloon{Size: size}})
	eventually(t, "the balloon is full", func() bool { return g.BalloonState().Actual == size })
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	small, err := g.BalloonStats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.SetBalloon(0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the balloon is empty", func() bool { return g.BalloonState().Actual == 0 })
	large, err := g.BalloonStats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	with, _ := small.Get(balloon.FreeMemory)
	without, ok := large.Get(balloon.FreeMemory)
	t.Logf("free: %d MiB, %d MiB without the balloon", with>>20, without>>20)
	if !ok || without < with+size*3/4 {
		t.Errorf("%d bytes free with the balloon, %d without", with, without)
	}
	for which, v := range large.All {
		t.Logf("%s: %d", which, v)
	}
	if g.SetBalloon(256<<20) == nil {
		t.Error("the guest's whole memory can be taken")
	}
}

// TestKVMBalloonYieldsInNeed wants a guest that needs its memory to get it.
func TestKVMBalloonYieldsInNeed(t *testing.T) {
	const size = 160 << 20
	g := startLinux(t, Config{Memory: 256 << 20, Balloon: Balloon{Size: size}})
	eventually(t, "the balloon is full", func() bool { return g.BalloonState().Actual > size*9/10 })
	g.sh("dd if=/dev/zero of=/tmp/x bs=1M count=100")
	if s := g.BalloonState(); s.Actual > size-(20<<20) {
		t.Errorf("the balloon still holds %d MiB", s.Actual>>20)
	}
}
