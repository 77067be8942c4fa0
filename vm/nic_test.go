package vm

import (
	"errors"
	"testing"

	virtionet "github.com/gureum/gureum/virtio/net"
	"github.com/gureum/gureum/virtio/ratelimit"
)

func TestNICs(t *testing.T) {
	for name, tt := range map[string]struct {
		nics []NIC
		ok   bool
	}{
		"none":             {nil, true},
		"tap":              {[]NIC{{Tap: "vm0"}}, true},
		"user":             {[]NIC{{User: true}}, true},
		"two":              {[]NIC{{User: true}, {Tap: "vm0", Queues: 4, MTU: 9000, Vhost: virtionet.VhostOn}}, true},
		"neither":          {[]NIC{{}}, false},
		"both":             {[]NIC{{Tap: "vm0", User: true}}, false},
		"bad name":         {[]NIC{{Tap: "../x"}}, false},
		"small MTU":        {[]NIC{{User: true, MTU: 67}}, false},
		"large MTU":        {[]NIC{{User: true, MTU: 65536}}, false},
		"many queues":      {[]NIC{{Tap: "vm0", Queues: MaxNICQueues + 1}}, false},
		"negative queues":  {[]NIC{{Tap: "vm0", Queues: -1}}, false},
		"queues of a user": {[]NIC{{User: true, Queues: 2}}, false},
		"vhost of a user":  {[]NIC{{User: true, Vhost: virtionet.VhostOn}}, false},
		"vhost and limit":  {[]NIC{{Tap: "vm0", Vhost: virtionet.VhostOn, RX: ratelimit.Config{Ops: ratelimit.PerSecond(1)}}}, false},
		"bad limit":        {[]NIC{{Tap: "vm0", RX: ratelimit.Config{Ops: ratelimit.Bucket{Burst: 1}}}}, false},
		"loopback of a tap": {
			[]NIC{{Tap: "vm0", HostLoopback: true}}, false,
		},
		"group MAC": {[]NIC{{User: true, MAC: [6]byte{1}}}, false},
		"same MAC":  {[]NIC{{User: true, MAC: [6]byte{2}}, {User: true, MAC: [6]byte{2}}}, false},
		"too many":  {make([]NIC, maxNICs+1), false},
	} {
		c := Config{NICs: tt.nics}
		err := checkNICs(&c)
		var input *InputError
		if (err == nil) != tt.ok || err != nil && !errors.As(err, &input) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && len(c.NICs) > 0 && c.NICs[0].Queues != 1 {
			t.Errorf("%s: %d queues", name, c.NICs[0].Queues)
		}
	}
}

func TestOwnMAC(t *testing.T) {
	seen := map[[6]byte]bool{}
	for _, name := range []string{"a", "b", "", ""} {
		for nic := range 3 {
			mac := OwnMAC(name, nic)
			if mac[0]&3 != 2 {
				t.Errorf("% x is not locally administered, or a group's", mac)
			}
			if seen[mac] {
				t.Errorf("% x is given twice", mac)
			}
			seen[mac] = true
			if name != "" && OwnMAC(name, nic) != mac {
				t.Errorf("%s: the address changes", name)
			}
		}
	}
}

// TestUserNIC makes the device of a user-mode network, which needs no privilege.
func TestUserNIC(t *testing.T) {
	m := &Machine{config: Config{NICs: []NIC{{User: true}, {User: true, MTU: 1400}}}}
	if err := checkNICs(&m.config); err != nil {
		t.Fatal(err)
	}
	devices, err := m.newNICs()
	if err != nil {
		t.Fatal(err)
	}
	if len(devices) != 2 || m.SetLink(1, false) != nil || m.SetLink(2, false) == nil || m.SetLink(-1, true) == nil {
		t.Errorf("%d devices", len(devices))
	}
	if s := m.NICs(); len(s) != 2 || !s[0].LinkUp || s[1].LinkUp || s[0].Vhost || s[0].MAC == s[1].MAC {
		t.Errorf("%+v", s)
	}
	if err := closeDevices(devices); err != nil {
		t.Error(err)
	}
}
