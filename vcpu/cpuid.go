package vcpu

import (
	"errors"
	"slices"

	"github.com/gureum/gureum/kvm"
)

// Features are what a guest's processors may show beyond the usual. The zero value is right
// for almost every guest.
type Features struct {
	// Nested shows VMX or SVM where KVM has it, so that the guest can run guests of its own.
	// Such a guest cannot be saved yet.
	Nested bool
	// MSIExtDestID tells the guest that MSI addresses carry 15-bit APIC ids: it needs that to
	// use CPUs with ids above 255. Whoever makes MSI routes then has to move bits 11:5 of the
	// address to bits 14:8 of the destination (address_hi), as
	// Documentation/virt/kvm/x86/cpuid.rst has it.
	MSIExtDestID bool
}

type vendor int

const (
	vendorIntel vendor = iota // Intel and those who follow its rules (Centaur, Zhaoxin)
	vendorAMD                 // AMD and Hygon
	vendorCentaur
)

// vendorOf reads the vendor string of leaf 0 (EBX, EDX, ECX).
func vendorOf(e *kvm.CPUIDEntry) vendor {
	switch [3]uint32{e.EBX, e.EDX, e.ECX} {
	case [3]uint32{0x68747541, 0x69746E65, 0x444D4163}, // AuthenticAMD
		[3]uint32{0x6F677948, 0x6E65476E, 0x656E6975}: // HygonGenuine
		return vendorAMD
	case [3]uint32{0x746E6543, 0x48727561, 0x736C7561}, // CentaurHauls
		[3]uint32{0x68532020, 0x68676E61, 0x20206961}: // "  Shanghai  "
		return vendorCentaur
	}
	return vendorIntel
}

// cpuidOptions is all that CPUID depends on beside the host.
type cpuidOptions struct {
	topology    Topology // resolved
	features    Features
	tscKHz      uint32 // 0 if not known
	tscDeadline bool   // the LAPIC's timer has the TSC deadline mode

	// host executes CPUID on the host, for what KVM leaves out; nil leaves it out too.
	host func(leaf, subleaf uint32) (eax, ebx, ecx, edx uint32)
}

// cpuidTable answers CPUID for all vCPUs of a machine: entries hold what they share.
type cpuidTable struct {
	vendor  vendor
	family  uint32
	model   uint32
	entries []kvm.CPUIDEntry
	o       cpuidOptions
}

var errNoCPUID = errors.New("KVM_GET_SUPPORTED_CPUID gave no leaves 0 and 1: this KVM is not usable")

// newCPUID makes the table from what KVM supports on this host (KVM_GET_SUPPORTED_CPUID, whose
// topology fields are the host's and meaningless to a guest).
func newCPUID(supported []kvm.CPUIDEntry, o cpuidOptions) (*cpuidTable, error) {
	t := &cpuidTable{o: o}
	zero, one := find(supported, leafVendor, 0), find(supported, leafFeatures, 0)
	if zero == nil || one == nil {
		return nil, errNoCPUID
	}
	t.vendor = vendorOf(zero)
	t.family, t.model = familyModel(one.EAX)
	t.entries = make([]kvm.CPUIDEntry, 0, len(supported)+8)
	for i := range supported {
		if e := supported[i]; t.keeps(&e) {
			t.entries = append(t.entries, e)
		}
	}
	t.addDescription()
	t.maskFeatures()
	t.addHypervisor()
	t.addTiming()
	t.addTopology()
	slices.SortStableFunc(t.entries, func(a, b kvm.CPUIDEntry) int {
		if a.Function != b.Function {
			return compare(a.Function, b.Function)
		}
		return compare(a.Index, b.Index)
	})
	t.setLimits(zero)
	return t, nil
}

func compare(a, b uint32) int {
	if a < b {
		return -1
	}
	if a > b {
		return 1
	}
	return 0
}

// familyModel decodes leaf 1's EAX: the extended fields count as both vendors say.
func familyModel(eax uint32) (family, model uint32) {
	family, model = eax>>8&0xF, eax>>4&0xF
	if family == 6 || family == 0xF {
		model |= eax >> 16 & 0xF << 4
	}
	if family == 0xF {
		family += eax >> 20 & 0xFF
	}
	return family, model
}

// keeps says if a leaf that KVM offers goes into the table as it stands. Leaves that are made
// anew, that belong to another vendor, or that say nothing stay out: CPUID answers zero then.
func (t *cpuidTable) keeps(e *kvm.CPUIDEntry) bool {
	switch e.Function {
	case leafVendor, leafExtended, leafHypervisor, // made by setLimits and addHypervisor
		leafSerial, leafMonitor, leafSGX, // never offered
		leafTSC, leafFrequency, leafTopology, leafTopologyV2, // made anew
		leafAMDTopology, leafAMDTopoV2, leafAMDEncrypted:
		return false
	case leafSVM:
		if !t.o.features.Nested {
			return false
		}
	}
	if e.EAX|e.EBX|e.ECX|e.EDX == 0 {
		return false
	}
	class := e.Function & 0xF0000000
	switch t.vendor {
	case vendorAMD:
		amdBasic := e.Function <= leafAMDBasicMax && e.Function != 2 && e.Function != leafCache &&
			e.Function != 9 && e.Function != leafPMU
		return class == 0x40000000 || class == 0x80000000 || amdBasic
	case vendorCentaur:
		return true
	}
	intelExtended := class == leafExtended && e.Function <= leafIntelExtendedMax && e.Function != leafL1Cache
	return class == 0 || class == 0x40000000 || intelExtended
}

// find gives the entry of a leaf and subleaf, or nil.
func find(entries []kvm.CPUIDEntry, function, index uint32) *kvm.CPUIDEntry {
	for i := range entries {
		if e := &entries[i]; e.Function == function && e.Index == index {
			return e
		}
	}
	return nil
}

func (t *cpuidTable) find(function, index uint32) *kvm.CPUIDEntry {
	return find(t.entries, function, index)
}

func (t *cpuidTable) add(e kvm.CPUIDEntry) { t.entries = append(t.entries, e) }

// maskFeatures clears what KVM reports and a guest of ours cannot use, and sets what KVM leaves
// to user space.
func (t *cpuidTable) maskFeatures() {
	one := t.find(leafFeatures, 0)
	one.ECX &^= ecx1Monitor
	one.ECX |= ecx1Hypervisor
	if t.o.tscDeadline {
		one.ECX |= ecx1TSCDeadline
	}
	if !t.o.features.Nested {
		one.ECX &^= ecx1VMX
	}
	if pmu := t.find(leafPMU, 0); pmu == nil || pmu.EAX&0xFF == 0 {
		one.ECX &^= ecx1PDCM
	}
	if e := t.find(leafExtFeatures1, 0); e != nil && !t.o.features.Nested {
		e.ECX &^= ecxSVM
	}
	t.maskLeaf7()
}

func (t *cpuidTable) maskLeaf7() {
	e := t.find(leafExtFeatures, 0)
	if e == nil {
		return
	}
	// Enclaves need memory of a kind that we do not give.
	e.EBX &^= ebx7SGX
	e.ECX &^= ecx7SGXLC
	if t.vendor == vendorAMD {
		// An Intel MSR that KVM emulates everywhere; no AMD processor has it and some guests
		// take it for a sign of Intel.
		e.EDX &^= edx7ArchCap
	}
	if xcr0 := t.find(leafXSave, 0); xcr0 != nil && xcr0.EAX&xcr0Tiles == xcr0Tiles {
		return
	}
	// Tile state needs a permission that this process did not ask for (arch_prctl
	// ARCH_REQ_XCOMP_GUEST_PERM): without it in XCR0 the instructions only fault.
	e.EDX &^= edx7AMX
	if s := t.find(leafExtFeatures, 1); s != nil {
		s.EAX &^= eax71AMXFP16
		s.EDX &^= edx71AMXCmplex
	}
	t.entries = slices.DeleteFunc(t.entries, func(e kvm.CPUIDEntry) bool {
		return e.Function == leafTile || e.Function == leafTMUL
	})
}

// addHypervisor makes leaf 0x4000_0000: KVM's signature and the last hypervisor leaf.
func (t *cpuidTable) addHypervisor() {
	const ebx, ecx, edx = 0x4B4D564B, 0x564B4D56, 0x4D // "KVMKVMKVM", zero padded
	last := uint32(leafKVMFeatures)
	if t.o.tscKHz != 0 {
		last = leafHVTiming
	}
	t.add(kvm.CPUIDEntry{Function: leafHypervisor, EAX: last, EBX: ebx, ECX: ecx, EDX: edx})
	if e := t.find(leafKVMFeatures, 0); e != nil && t.o.features.MSIExtDestID {
		e.EAX |= eaxMSIExtDestID
	}
}

// addDescription takes from the host what names and describes the processor and KVM does not
// pass on: the brand string, and on AMD with older kernels the level 1 caches.
func (t *cpuidTable) addDescription() {
	if t.o.host == nil || t.find(leafExtFeatures1, 0) == nil {
		return
	}
	var leaves []uint32
	if t.find(leafBrand, 0) == nil { // all of the string or nothing of it
		leaves = append(leaves, leafBrand, leafBrand+1, leafBrand+2)
	}
	if t.vendor == vendorAMD && t.find(leafL1Cache, 0) == nil {
		leaves = append(leaves, leafL1Cache)
	}
	last, _, _, _ := t.o.host(leafExtended, 0)
	for _, leaf := range leaves {
		if leaf > last {
			continue
		}
		e := kvm.CPUIDEntry{Function: leaf}
		e.EAX, e.EBX, e.ECX, e.EDX = t.o.host(leaf, 0)
		if e.EAX|e.EBX|e.ECX|e.EDX != 0 {
			t.add(e)
		}
	}
}

// setLimits makes the leaves that tell each range's last leaf.
func (t *cpuidTable) setLimits(zero *kvm.CPUIDEntry) {
	var basic, extended uint32
	for i := range t.entries {
		f := t.entries[i].Function
		switch f & 0xF0000000 {
		case 0:
			basic = max(basic, f)
		case leafExtended:
			extended = max(extended, f)
		}
	}
	limits := []kvm.CPUIDEntry{{Function: leafVendor, EAX: basic, EBX: zero.EBX, ECX: zero.ECX, EDX: zero.EDX}}
	if extended != 0 {
		e := kvm.CPUIDEntry{Function: leafExtended, EAX: extended}
		if t.vendor == vendorAMD { // AMD repeats its name there, Intel reserves the fields
			e.EBX, e.ECX, e.EDX = zero.EBX, zero.ECX, zero.EDX
		}
		limits = append(limits, e)
	}
	t.entries = append(limits, t.entries...)
}

// forCPU puts the table of one CPU into dst's storage and gives it back.
func (t *cpuidTable) forCPU(dst []kvm.CPUIDEntry, cpu int) []kvm.CPUIDEntry {
	dst = append(dst[:0], t.entries...)
	topo := t.o.topology
	id := topo.APICID(cpu)
	for i := range dst {
		e := &dst[i]
		switch e.Function {
		case leafFeatures:
			e.EBX = e.EBX&0x00FFFFFF | id<<24 // the initial APIC id, its low 8 bits
		case leafTopology, leafTopologyV2:
			e.EDX = id
		case leafAMDTopology:
			setAMDTopology(e, topo, cpu)
		}
	}
	return dst
}
