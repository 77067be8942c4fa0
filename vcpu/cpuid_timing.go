package vcpu

import "github.com/gureum/gureum/kvm"

// busKHz is the frequency at which KVM's LAPIC timers count (APIC_BUS_CYCLE_NS is 1).
const busKHz = 1_000_000

// addTiming tells the guest its clocks, so that it need not measure them: leaf 0x4000_0010 for
// all, and what Intel processors have.
func (t *cpuidTable) addTiming() {
	tsc := t.o.tscKHz
	if tsc == 0 {
		return
	}
	t.add(kvm.CPUIDEntry{Function: leafHVTiming, EAX: tsc, EBX: busKHz})
	if t.vendor != vendorIntel {
		return
	}
	// Leaf 0x15: TSC = crystal * EBX / EAX. The crystal is what drives the LAPIC timer, and
	// guests take it for that.
	num, den := ratio(tsc, busKHz, 1<<32/busKHz)
	t.add(kvm.CPUIDEntry{Function: leafTSC, EAX: den, EBX: num, ECX: busKHz * 1000})
	// Leaf 0x16: base, maximum and bus frequency in MHz.
	mhz := (tsc + 500) / 1000
	t.add(kvm.CPUIDEntry{Function: leafFrequency, EAX: mhz, EBX: mhz, ECX: 100})
}

// ratio gives the fraction nearest to a/b by its continued fraction, with a numerator below
// limit: Linux multiplies the crystal's kHz by it in 32 bits. For TSC frequencies of a few GHz
// the error is below one part in a million.
func ratio(a, b, limit uint32) (num, den uint32) {
	x, y := uint64(a), uint64(b)
	n0, d0, n1, d1 := uint64(0), uint64(1), uint64(1), uint64(0)
	for y != 0 {
		q := x / y
		n, d := q*n1+n0, q*d1+d0
		if n >= uint64(limit) {
			break
		}
		n0, d0, n1, d1 = n1, d1, n, d
		x, y = y, x%y
	}
	return uint32(n1), uint32(d1)
}
