package vcpu

import "github.com/gureum/gureum/kvm"

// Model specific registers (Intel SDM volume 4, AMD APM volume 2 appendix A).
const (
	msrTSC          = 0x10
	msrSysenterCS   = 0x174
	msrSysenterESP  = 0x175
	msrSysenterEIP  = 0x176
	msrMiscEnable   = 0x1A0
	msrMTRRPhysBase = 0x200 // base and mask alternate
	msrMTRRFix64K   = 0x250
	msrMTRRFix16K   = 0x258 // 2
	msrMTRRFix4K    = 0x268 // 8
	msrPAT          = 0x277
	msrMTRRDefType  = 0x2FF
	msrTSCDeadline  = 0x6E0
	msrSTAR         = 0xC0000081
	msrLSTAR        = 0xC0000082
	msrCSTAR        = 0xC0000083
	msrSFMask       = 0xC0000084
	msrKernelGSBase = 0xC0000102
)

const (
	miscFastStrings = 1 << 0 // REP MOVS and REP STOS move more than one item at a time
	mtrrEnable      = 1 << 11
	mtrrWriteBack   = 6
	mtrrVariable    = 8 // KVM's number of variable ranges
	patReset        = 0x0007040600070406
)

// msrSet is a set of MSR numbers, KVM's list of those that make up a vCPU's state.
type msrSet []uint32

func (s msrSet) has(msr uint32) bool {
	for _, m := range s {
		if m == msr {
			return true
		}
	}
	return false
}

// bootMSRs are the registers that firmware would have set up, and those that a kernel finds at
// their reset values, as far as this KVM has them. miscEnable is IA32_MISC_ENABLE as KVM made it;
// some of its bits are read-only. The MTRRs are not in KVM's list but come with their CPUID bit:
// without the default type, a kernel that trusts them finds all of its memory uncached. The TSC
// stays: KVM starts it at 0, the same for all vCPUs, and takes the first write for a restore.
func bootMSRs(known msrSet, mtrr bool, miscEnable uint64) []kvm.MSREntry {
	wanted := []kvm.MSREntry{
		{Index: msrSysenterCS},
		{Index: msrSysenterESP},
		{Index: msrSysenterEIP},
		{Index: msrSTAR},
		{Index: msrLSTAR},
		{Index: msrCSTAR},
		{Index: msrSFMask},
		{Index: msrKernelGSBase},
		{Index: msrPAT, Data: patReset},
		{Index: msrMiscEnable, Data: miscEnable | miscFastStrings},
	}
	msrs := make([]kvm.MSREntry, 0, len(wanted)+1)
	for _, e := range wanted {
		if known.has(e.Index) {
			msrs = append(msrs, e)
		}
	}
	if mtrr {
		msrs = append(msrs, kvm.MSREntry{Index: msrMTRRDefType, Data: mtrrEnable | mtrrWriteBack})
	}
	return msrs
}

// stateMSRs is the order in which to read and write a vCPU's MSRs: the TSC before all, since
// others are relative to it, and its deadline after all, which needs the TSC and the LAPIC timer's mode.
func stateMSRs(known msrSet, mtrr bool) []uint32 {
	list := make([]uint32, 0, len(known)+32)
	if known.has(msrTSC) {
		list = append(list, msrTSC)
	}
	for _, m := range known {
		if m != msrTSC && m != msrTSCDeadline {
			list = append(list, m)
		}
	}
	if mtrr && !known.has(msrMTRRDefType) {
		list = append(list, mtrrMSRs()...)
	}
	if known.has(msrTSCDeadline) {
		list = append(list, msrTSCDeadline)
	}
	return list
}

func mtrrMSRs() []uint32 {
	list := []uint32{msrMTRRFix64K, msrMTRRFix16K, msrMTRRFix16K + 1}
	for i := range uint32(8) {
		list = append(list, msrMTRRFix4K+i)
	}
	for i := range uint32(2 * mtrrVariable) {
		list = append(list, msrMTRRPhysBase+i)
	}
	return append(list, msrMTRRDefType)
}
