package broken

import "testing"

func TestKVMBroken(t *testing.T) { undefined() }
