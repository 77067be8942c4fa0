package kvm

// Why MSR accesses come to user space: arguments of EnableCap(CapX86UserSpaceMSR, ...) and
// MSRExit.Reason (KVM_MSR_EXIT_REASON_*).
const (
	MSRReasonInvalid uint64 = 1 << 0 // the value is not allowed
	MSRReasonUnknown uint64 = 1 << 1 // KVM does not know the register
	MSRReasonFilter  uint64 = 1 << 2 // the filter denies it
)

// Which accesses an MSRFilterRange is about.
const (
	MSRFilterRead  uint32 = 1 << 0
	MSRFilterWrite uint32 = 1 << 1
)

// msrFilterDefaultDeny is KVM_MSR_FILTER_DEFAULT_DENY.
const msrFilterDefaultDeny = 1 << 0

// maxMSRBitmap is KVM_MSR_FILTER_MAX_BITMAP_SIZE, in bytes.
const maxMSRBitmap = 0x600

// MSRFilterRange allows (bit set) or denies (bit clear) MSRs from Base on: bit n of byte m is
// Base+8*m+n.
type MSRFilterRange struct {
	Access uint32 // MSRFilterRead, MSRFilterWrite or both
	Base   uint32
	Count  int    // registers covered
	Bitmap []byte // Count bits
}

// MSRFilter says which MSRs a guest may touch (KVM_X86_SET_MSR_FILTER). What it denies gives
// the guest #GP, or an exit if CapX86UserSpaceMSR is enabled with MSRReasonFilter.
type MSRFilter struct {
	DefaultDeny bool // for MSRs in no range; needs a range
	Ranges      []MSRFilterRange
}

// SetMSRFilter replaces the VM's filter. One without ranges allows everything.
func (vm *VM) SetMSRFilter(f MSRFilter) error {
	const op = "KVM_X86_SET_MSR_FILTER"
	var k msrFilter
	if len(f.Ranges) > len(k.ranges) {
		return argError(op, "%d ranges, at most %d", len(f.Ranges), len(k.ranges))
	}
	if f.DefaultDeny {
		k.flags = msrFilterDefaultDeny
	}
	for i, r := range f.Ranges {
		if r.Count <= 0 || r.Count > maxMSRBitmap*8 {
			return argError(op, "range %d covers %d registers, want 1 to %d", i, r.Count, maxMSRBitmap*8)
		}
		// The kernel reads whole longs.
		if need := (r.Count + 63) / 64 * 8; len(r.Bitmap) < need {
			r.Bitmap = append(make([]byte, 0, need), r.Bitmap...)[:need]
		}
		k.ranges[i] = msrFilterRange{flags: r.Access, nmsrs: uint32(r.Count), base: r.Base, bitmap: &r.Bitmap[0]}
	}
	_, err := ioctlPtr(vm.fd, reqSetMSRFilter, &k)
	return opError(op, err)
}
