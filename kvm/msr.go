package kvm

import "fmt"

const (
	// maxMSRBatch is the most that the kernel takes in one call (below MAX_IO_MSRS).
	maxMSRBatch = 255
	// maxMSRList bounds the index lists; Linux 6.18 has fewer than 500.
	maxMSRList = 4096
)

// MSRError says which model specific register KVM refused: it does not exist for this guest,
// or the value is not allowed.
type MSRError struct {
	Index uint32
	Write bool
}

func (e *MSRError) Error() string {
	verb := "read"
	if e.Write {
		verb = "written"
	}
	return fmt.Sprintf("MSR %#x cannot be %s", e.Index, verb)
}

// msrList is struct kvm_msr_list with room for the indices.
type msrList struct {
	n       uint32
	indices [maxMSRList]uint32
}

// MSRIndexList gives the MSRs that make up a vCPU's state (KVM_GET_MSR_INDEX_LIST).
func (s *System) MSRIndexList() ([]uint32, error) {
	return s.msrList(reqGetMSRIndexList, "KVM_GET_MSR_INDEX_LIST")
}

// MSRFeatureIndexList gives the MSRs that FeatureMSRs reads (KVM_GET_MSR_FEATURE_INDEX_LIST).
func (s *System) MSRFeatureIndexList() ([]uint32, error) {
	return s.msrList(reqGetMSRFeatureIndexList, "KVM_GET_MSR_FEATURE_INDEX_LIST")
}

func (s *System) msrList(req uintptr, op string) ([]uint32, error) {
	l := &msrList{n: maxMSRList}
	if _, err := ioctlPtr(s.fd, req, l); err != nil {
		return nil, opError(op, err)
	}
	n := min(int(l.n), maxMSRList)
	return append([]uint32(nil), l.indices[:n]...), nil
}

// FeatureMSRs reads, for each entry's Index, what this host offers to guests. Like VCPU.MSRs.
func (s *System) FeatureMSRs(entries []MSREntry) (int, error) {
	return getMSRs(s.fd, "KVM_GET_MSRS", entries)
}

// MSRs reads the register of each entry's Index into its Data. It gives how many were read;
// if that is fewer than asked for, the error is an *MSRError for entries[n].
func (v *VCPU) MSRs(entries []MSREntry) (n int, err error) {
	return getMSRs(v.fd, fmt.Sprintf("KVM_GET_MSRS on vcpu %d", v.id), entries)
}

// SetMSRs writes each entry, in order. It gives how many were written; if that is fewer than
// asked for, the error is an *MSRError for entries[n].
func (v *VCPU) SetMSRs(entries []MSREntry) (n int, err error) {
	op := fmt.Sprintf("KVM_SET_MSRS on vcpu %d", v.id)
	for n < len(entries) {
		batch := entries[n:min(n+maxMSRBatch, len(entries))]
		words, table := newTable[MSREntry](len(batch))
		copy(table, batch)
		done, err := ioctlPtr(v.fd, reqSetMSRs, &words[0])
		if err != nil {
			return n, opError(op, err)
		}
		n += min(done, len(batch))
		if done < len(batch) {
			return n, opError(op, &MSRError{Index: entries[n].Index, Write: true})
		}
	}
	return n, nil
}

func getMSRs(d *descriptor, op string, entries []MSREntry) (n int, err error) {
	for n < len(entries) {
		batch := entries[n:min(n+maxMSRBatch, len(entries))]
		words, table := newTable[MSREntry](len(batch))
		copy(table, batch)
		done, err := ioctlPtr(d, reqGetMSRs, &words[0])
		if err != nil {
			return n, opError(op, err)
		}
		done = min(done, len(batch))
		copy(batch[:done], table)
		n += done
		if done < len(batch) {
			return n, opError(op, &MSRError{Index: entries[n].Index})
		}
	}
	return n, nil
}
