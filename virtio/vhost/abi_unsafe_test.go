package vhost

import (
	"testing"
	"unsafe"
)

// TestSizes holds that the structs are those of linux/vhost.h.
func TestSizes(t *testing.T) {
	for name, tt := range map[string]struct{ got, want uintptr }{
		"vhost_memory_region":      {unsafe.Sizeof(region{}), 32},
		"vhost_memory":             {unsafe.Sizeof(memoryTable{}), 8 + 32*maxRegions},
		"vhost_vring_state":        {unsafe.Sizeof(vringState{}), 8},
		"vhost_vring_addr":         {unsafe.Sizeof(vringAddr{}), 40},
		"desc_user_addr":           {unsafe.Offsetof(vringAddr{}.desc), 8},
		"used_user_addr":           {unsafe.Offsetof(vringAddr{}.used), 16},
		"avail_user_addr":          {unsafe.Offsetof(vringAddr{}.avail), 24},
		"vhost_memory_region.host": {unsafe.Offsetof(region{}.host), 16},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %d bytes, want %d", name, tt.got, tt.want)
		}
	}
}
