package kvm

import "fmt"

// XSave reads the whole extended processor state, laid out as the XSAVE instruction does
// (standard form, offsets of CPUID leaf 0xD). It is 4096 bytes, or more where the guest has
// larger features (AMX) and KVM has KVM_GET_XSAVE2.
func (v *VCPU) XSave() ([]byte, error) {
	size, err := v.xsaveSize()
	if err != nil {
		return nil, err
	}
	op, req := "KVM_GET_XSAVE2", reqGetXSave2
	if size == 0 {
		op, req, size = "KVM_GET_XSAVE", reqGetXSave, minXSaveSize
	}
	area := make([]byte, size)
	if _, err := ioctlPtr(v.fd, req, &area[0]); err != nil {
		return nil, v.opError(op, err)
	}
	return area, nil
}

// SetXSave writes what XSave read, on this host or one with the same features.
func (v *VCPU) SetXSave(area []byte) error {
	op := fmt.Sprintf("KVM_SET_XSAVE on vcpu %d", v.id)
	size, err := v.xsaveSize()
	if err != nil {
		return err
	}
	// The kernel reads this much whatever is there.
	if want := max(size, minXSaveSize); len(area) != want {
		return argError(op, "area has %d bytes, want %d", len(area), want)
	}
	_, err = ioctlPtr(v.fd, reqSetXSave, &area[0])
	return opError(op, err)
}

// xsaveSize is 0 where there is no KVM_GET_XSAVE2.
func (v *VCPU) xsaveSize() (int, error) {
	size, err := v.vm.CheckExtension(CapXSave2)
	if err != nil || size == 0 {
		return 0, err
	}
	return max(size, minXSaveSize), nil
}
