package vcpu

import "github.com/gureum/gureum/kvm"

// addTopology makes or corrects the leaves that tell processors apart. What is the same for
// all CPUs is set here, the rest by forCPU.
func (t *cpuidTable) addTopology() {
	topo := t.o.topology
	one := t.find(leafFeatures, 0)
	// Logical processors a package in EBX[23:16]: Intel has the number of ids that are set
	// aside, AMD the processors that there are. 8 bits: leaf 0xB is there for more.
	logical := topo.perPackage()
	if t.vendor != vendorAMD {
		logical = 1 << topo.packageBits()
	}
	one.EBX = one.EBX&0xFF00FFFF | uint32(min(logical, 255))<<16
	one.EDX &^= edx1HTT
	if topo.perPackage() > 1 {
		one.EDX |= edx1HTT
	}
	if one.ECX&ecx1X2APIC != 0 {
		t.addLevels(leafTopology)
		if t.vendor == vendorIntel {
			t.addLevels(leafTopologyV2)
		}
	}
	for i := range t.entries {
		t.setSharing(&t.entries[i])
	}
	if e := t.find(leafAddressSize, 0); e != nil {
		e.ECX = 0
		if t.vendor == vendorAMD {
			e.ECX = uint32(topo.packageBits())<<12 | uint32(min(topo.perPackage(), 256)-1)
		}
	}
	if t.vendor == vendorAMD {
		t.addAMDTopology()
	}
}

// addLevels makes leaf 0xB or 0x1F: a subleaf for the threads of a core, one for the cores of a
// package, and the one that ends the list.
func (t *cpuidTable) addLevels(leaf uint32) {
	topo := t.o.topology
	const indexed = kvm.CPUIDSignificantIndex
	t.add(kvm.CPUIDEntry{
		Function: leaf, Index: 0, Flags: indexed,
		EAX: uint32(topo.threadBits()), EBX: uint32(topo.Threads), ECX: levelThread,
	})
	t.add(kvm.CPUIDEntry{
		Function: leaf, Index: 1, Flags: indexed,
		EAX: uint32(topo.packageBits()), EBX: uint32(topo.perPackage() & 0xFFFF), ECX: levelCore | 1,
	})
	t.add(kvm.CPUIDEntry{Function: leaf, Index: 2, Flags: indexed, ECX: 2})
}

// setSharing corrects a cache's subleaf of leaf 4 or 0x8000_001D: caches of level 1 and 2
// belong to a core, the others to the package. EAX[25:14] is the number of ids that share it,
// less one; it is a power of two, because it says how many bits of an APIC id to leave out.
func (t *cpuidTable) setSharing(e *kvm.CPUIDEntry) {
	const maxCoreIDs, maxShare = 63, 0xFFF // widths of the fields
	topo := t.o.topology
	if (e.Function != leafCache && e.Function != leafAMDCache) || e.EAX&0x1F == 0 {
		return
	}
	width := topo.packageBits()
	if level := e.EAX >> 5 & 7; level <= 2 {
		width = topo.threadBits()
	} else if t.vendor == vendorAMD && t.family == 0x17 && t.model <= 0x1F {
		// Guests know that these share the last level by 8 ids at most (a core complex), and
		// do not ask.
		width = min(width, 3)
	}
	e.EAX = e.EAX&0x3FFF | uint32(min(1<<width-1, maxShare))<<14
	if e.Function == leafCache {
		cores := 1<<(topo.packageBits()-topo.threadBits()) - 1
		e.EAX |= uint32(min(cores, maxCoreIDs)) << 26
	}
}

// addAMDTopology makes what only AMD has: the legacy multi-core bit, and leaf 0x8000_001E where
// the processor has the extended topology leaves.
func (t *cpuidTable) addAMDTopology() {
	e := t.find(leafExtFeatures1, 0)
	if e == nil {
		return
	}
	e.ECX &^= ecxCmpLegacy
	if t.o.topology.perPackage() > 1 {
		e.ECX |= ecxCmpLegacy
	}
	if e.ECX&ecxTopoExt != 0 {
		t.add(kvm.CPUIDEntry{Function: leafAMDTopology})
	}
}

// setAMDTopology fills leaf 0x8000_001E: EAX the APIC id, EBX the core and its number of
// threads less one, ECX the node, which is the socket: one node a socket.
func setAMDTopology(e *kvm.CPUIDEntry, topo Topology, cpu int) {
	core := cpu / topo.Threads % topo.Cores
	socket := cpu / topo.perPackage()
	e.EAX = topo.APICID(cpu)
	e.EBX = uint32(topo.Threads-1)&0xFF<<8 | uint32(core)&0xFF
	e.ECX = uint32(socket) & 0xFF
}
