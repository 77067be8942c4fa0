package main

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseNetwork(t *testing.T) {
	for text, want := range map[string]network{
		"02:00:00:00:00:0A,10.88.0.2/24": {mac: "02:00:00:00:00:0a", address: ip4{10, 88, 0, 2}, bits: 24},
		"m,10.0.2.15/24,gw=10.0.2.2,dns=10.0.2.3,dns=1.1.1.1,search=default.internal": {
			mac: "m", address: ip4{10, 0, 2, 15}, bits: 24, gateway: ip4{10, 0, 2, 2},
			dns: []ip4{{10, 0, 2, 3}, {1, 1, 1, 1}}, search: "default.internal",
		},
		"m,10.0.0.1/8,of=the-future": {},
		"":                           {},
		"m":                          {},
		"m,10.0.0.1":                 {},
		"m,10.0.0.256/8":             {},
		"m,10.0.0.1.1/8":             {},
		"m,10.0.0.-1/8":              {},
		"m,fd00::1/64":               {},
		"m,10.0.0.1/33":              {},
		"m,10.0.0.1/8,gw=":           {},
		"m,10.0.0.1/8,dns=fd00::1":   {},
	} {
		got, err := parseNetwork(text)
		if (err == nil) != (want.bits > 0) || err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func TestResolver(t *testing.T) {
	var b strings.Builder
	n := network{dns: []ip4{{10, 88, 0, 1}, {1, 1, 1, 1}}, search: "default.internal"}
	n.writeResolver(&b)
	if b.String() != "search default.internal\nnameserver 10.88.0.1\nnameserver 1.1.1.1\n" {
		t.Errorf("%q", b.String())
	}
}

func TestRouteRequest(t *testing.T) {
	got := routeRequest(ip4{10, 88, 0, 1}, 7)
	want := []byte{
		44, 0, 0, 0, 24, 0, 5, 4, 1, 0, 0, 0, 0, 0, 0, 0,
		2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0,
		8, 0, 5, 0, 10, 88, 0, 1,
		8, 0, 4, 0, 7, 0, 0, 0,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("% x", got)
	}
}
