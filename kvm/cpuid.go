package kvm

// maxCPUIDEntries is KVM_MAX_CPUID_ENTRIES.
const maxCPUIDEntries = 256

// SupportedCPUID gives what a guest's CPUID can show on this host (KVM_GET_SUPPORTED_CPUID).
// Fields that depend on the vCPU, such as APIC ids and topology, are the host's and the
// caller's to change.
func (s *System) SupportedCPUID() ([]CPUIDEntry, error) {
	return getCPUID(s.fd, reqGetSupportedCPUID, "KVM_GET_SUPPORTED_CPUID")
}

// EmulatedCPUID gives the features that KVM emulates in software, slowly
// (KVM_GET_EMULATED_CPUID).
func (s *System) EmulatedCPUID() ([]CPUIDEntry, error) {
	return getCPUID(s.fd, reqGetEmulatedCPUID, "KVM_GET_EMULATED_CPUID")
}

func getCPUID(d *descriptor, req uintptr, op string) ([]CPUIDEntry, error) {
	words, entries := newTable[CPUIDEntry](maxCPUIDEntries)
	if _, err := ioctlPtr(d, req, &words[0]); err != nil {
		return nil, opError(op, err)
	}
	n := tableLen(words, len(entries))
	return entries[:n:n], nil
}

// unusedCPUID marks entries that KVM_GET_CPUID2 leaves alone.
var unusedCPUID = CPUIDEntry{Function: 1<<32 - 1, Index: 1<<32 - 1, Flags: 1<<32 - 1}

// SetCPUID2 sets what CPUID answers to the guest. To be called before the vCPU first runs.
func (v *VCPU) SetCPUID2(entries []CPUIDEntry) error {
	if len(entries) > maxCPUIDEntries {
		return argError("KVM_SET_CPUID2", "%d entries, at most %d", len(entries), maxCPUIDEntries)
	}
	words, table := newTable[CPUIDEntry](len(entries))
	copy(table, entries)
	_, err := ioctlPtr(v.fd, reqSetCPUID2, &words[0])
	return v.opError("KVM_SET_CPUID2", err)
}

// CPUID2 gives what CPUID answers to the guest.
func (v *VCPU) CPUID2() ([]CPUIDEntry, error) {
	words, entries := newTable[CPUIDEntry](maxCPUIDEntries)
	for i := range entries {
		entries[i] = unusedCPUID
	}
	if _, err := ioctlPtr(v.fd, reqGetCPUID2, &words[0]); err != nil {
		return nil, v.opError("KVM_GET_CPUID2", err)
	}
	// Linux 6.1 leaves the count as it was, so look where the kernel stopped.
	n := 0
	for n < tableLen(words, len(entries)) && entries[n] != unusedCPUID {
		n++
	}
	return entries[:n:n], nil
}
