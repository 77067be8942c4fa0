package good

import (
	"os"
	"testing"
)

func TestKVMGood(t *testing.T) {
	if _, err := os.Stat("good_kvm_test.go"); err != nil {
		t.Errorf("not in the package's folder: %v", err)
	}
	if Half(true) != 1 {
		t.Error("half is wrong")
	}
	t.Logf("count me")
}

func TestOther(t *testing.T) { t.Error("does not need KVM and so is not run") }
