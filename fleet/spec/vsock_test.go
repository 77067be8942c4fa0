package spec

import (
	"testing"

	"github.com/gureum/gureum/vm"
)

func TestParseVsock(t *testing.T) {
	for s, want := range map[string]vm.Vsock{
		"/run/s":           {On: true, Path: "/run/s"},
		"s,cid=7":          {On: true, Path: "s", CID: 7},
		"vhost":            {On: true, Vhost: true},
		"vhost,cid=9":      {On: true, Vhost: true, CID: 9},
		"./vhost":          {On: true, Path: "./vhost"},
		"":                 {},
		"cid=3":            {},
		"s,cid=0":          {},
		"s,cid=x":          {},
		"s,cid=":           {},
		"s,cid":            {},
		"s,t":              {},
		"s,":               {},
		"s,cid=4294967296": {},
	} {
		v, err := parseVsock(s)
		if (err == nil) != want.On || v != want {
			t.Errorf("%q: %+v, %v", s, v, err)
		}
	}
}
