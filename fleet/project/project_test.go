package project

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gureum/gureum/fleet"
	"github.com/gureum/gureum/fleet/state"
)

const shop = `
name: shop
networks:
  backend: {internal: true}
  edge:
machines:
  db:
    memory: 512M
    disk: ["data.raw,cache=none"]
    net: [backend]
  web:
    net: [default, backend]
    publish: ["8080:80"]
    cpus: 2
    no-rng: true
    command: [sleep, "100"]
`

func parse(t *testing.T, text string) *File {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "My Shop")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data.raw"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Parse(strings.NewReader(text), filepath.Join(dir, "vms.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestParse(t *testing.T) {
	f := parse(t, shop)
	web, db := f.Machines["web"], f.Machines["db"]
	if f.Name != "shop" || len(f.Networks) != 2 || !f.Networks["backend"].Internal || f.Networks["edge"] == nil {
		t.Errorf("%+v", f)
	}
	if web.Name != "web" || web.CPUs != 2 || !web.NoRNG || !reflect.DeepEqual(web.Command, []string{"sleep", "100"}) ||
		!reflect.DeepEqual(web.Label, []string{"gureum.project=shop"}) {
		t.Errorf("%+v", web)
	}
	if db.Memory != "512M" || !filepath.IsAbs(db.Disk[0]) || !strings.HasSuffix(db.Disk[0], "/My Shop/data.raw,cache=none") {
		t.Errorf("%+v", db)
	}
	if f := parse(t, "machines: {a: }"); f.Name != "my-shop" || f.Machines["a"].Name != "a" {
		t.Errorf("%+v", f)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "it is empty",
		"machines: {a: }\n---\nname: b":        "more than one document",
		"machine: {}":                          `line 1: "machine" is no word that is known here: give machines, name, networks`,
		"machines:\n  a:\n    memry: 1G":       `line 3: "memry" is no word`,
		"machines:\n  a:\n    memory: 1":       `line 3: "1": give text`,
		"machines:\n  a:\n    cpus: many":      `line 3: "many": give a whole number`,
		"machines:\n  a:\n    no-rng: 1":       `line 3: "1": give true or false`,
		"machines:\n  a:\n    net: backend":    "line 3: give a list, as in [backend]",
		"machines:\n  a:\n    publish: [8080]": `line 3: "8080": give text`,
		"machines: [a]":                        "line 1: write KEY: VALUE here",
		"machines: {A: }":                      `machine name "A"`,
		"machines: {a: {name: b}}":             "its name is its key",
		"machines: {a: {memory: 1M}}":          "machine a: guest memory",
		"machines: {a: {net: ['b:c']}}":        `machine a: network "b:c"`,
		"networks: {-a: }":                     `network name "-a"`,
		"name: A B":                            `project name "A B"`,
		"machines: {a: }\nmachines: {b: }":     "already defined",
		"a: b: c":                              "mapping values are not allowed",
	} {
		f, err := Parse(strings.NewReader(text), "x/vms.yaml")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "x/vms.yaml: ") {
			t.Errorf("%q: %+v, %v; want %s", text, f, err, want)
		}
	}
}

// now has what the file says, after it was applied.
func now(f *File) Now {
	var n Now
	for name, network := range f.Networks {
		n.Networks = append(n.Networks, &state.Network{ID: "n" + name, Name: name, MTU: 1500, Internal: network.Internal})
	}
	for name, m := range f.Machines {
		n.Machines = append(n.Machines, &fleet.Machine{VM: &state.VM{ID: "m" + name, Name: name, Spec: *m}, Status: state.Status{Phase: state.Running}})
	}
	return n
}

func diff(t *testing.T, f *File, n Now, prune bool) string {
	t.Helper()
	changes, orphans, err := f.Diff(n, prune)
	if err != nil {
		return err.Error()
	}
	if !inOrder(changes) {
		t.Errorf("out of order: %v", changes)
	}
	return fmt.Sprint(changes, orphans)
}

// TestNetworkWithOtherProperties is refused, whichever differs.
func TestNetworkWithOtherProperties(t *testing.T) {
	have := state.Network{
		ID: "n", Name: "lan", MTU: 1500, Subnet: netip.MustParsePrefix("10.90.0.0/24"), Subnet6: netip.MustParsePrefix("fd00::/64"),
		Internal: true, Isolated: true, HostAccess: true, Shielded: true,
	}
	for words, same := range map[string]bool{
		"internal: true, isolated: true, host-access: true, shielded: true":                                            true,
		"internal: true, isolated: true, host-access: true, shielded: true, subnet: 10.90.0.0/24, ipv6: 'fd00::/64'":   true,
		"internal: true, isolated: true, host-access: true":                                                            false,
		"internal: true, isolated: true, shielded: true":                                                               false,
		"internal: true, host-access: true, shielded: true":                                                            false,
		"isolated: true, host-access: true, shielded: true":                                                            false,
		"internal: true, isolated: true, host-access: true, shielded: true, mtu: 9000":                                 false,
		"internal: true, isolated: true, host-access: true, shielded: true, ipv6: none":                                false,
		"internal: true, isolated: true, host-access: true, shielded: true, subnet: 10.91.0.0/24, ipv6: 'fd00:0::/64'": false,
		"internal: true, isolated: true, host-access: true, shielded: true, subnet: 10.90.0.0/24, ipv6: 'fd00:1::/64'": false,
	} {
		got := diff(t, parse(t, "networks: {lan: {"+words+"}}"), Now{Networks: []*state.Network{&have}}, false)
		if (got == "[] []") != same || !same && !strings.Contains(got, "is there with other properties") {
			t.Errorf("%s: %s", words, got)
		}
	}
}

func TestDiff(t *testing.T) {
	f := parse(t, shop)
	if got := diff(t, f, Now{}, false); got != "[create network backend create network edge create machine db create machine web] []" {
		t.Errorf("from nothing: %s", got)
	}
	if got := diff(t, f, now(f), true); got != "[] []" {
		t.Errorf("again: %s", got)
	}
	n := now(f)
	for _, m := range n.Machines {
		switch m.Name {
		case "db":
			m.Phase = state.Lost
		case "web":
			m.Spec.CPUs = 4
		}
	}
	if got := diff(t, f, n, false); got != "[change machine web start machine db] []" {
		t.Errorf("changed: %s", got)
	}
	n = now(f)
	delete(f.Machines, "db")
	if got := diff(t, f, n, false); got != "[] [db]" {
		t.Errorf("orphan: %s", got)
	}
	if got := diff(t, f, n, true); got != "[remove machine db] []" {
		t.Errorf("orphan, to be removed: %s", got)
	}
	if got := fmt.Sprint(f.Undo(now(f))); !strings.Contains(got, "remove machine web") || !strings.Contains(got, "remove network edge") {
		t.Errorf("undo: %s", got)
	}
}

func TestDiffRefuses(t *testing.T) {
	f := parse(t, shop)
	n := now(f)
	for _, m := range n.Machines {
		m.Spec.Label = nil
	}
	if got := diff(t, f, n, false); !strings.Contains(got, "is there, and not of project shop") {
		t.Errorf("another's machine: %s", got)
	}
	n = now(f)
	for _, network := range n.Networks {
		network.Isolated = true
	}
	if got := diff(t, f, n, false); !strings.Contains(got, "is there with other properties") {
		t.Errorf("another network: %s", got)
	}
}

func inOrder(changes []Change) bool {
	return slices.IsSortedFunc(changes, func(a, b Change) int { return order(a.Kind) - order(b.Kind) })
}

// The published schema is the one that the types have. To write it anew:
//
//	go test ./fleet/project -run Schema -update
func TestSchemaIsPublished(t *testing.T) {
	const path = "../../docs/vms.schema.json"
	want, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what the types say (%v): go test ./fleet/project -run Schema -update", path, err)
	}
}

var update = flag.Bool("update", false, "write the published schema anew")
