// Package project is a set of machines and networks that a file defines:
//
//	name: shop
//	networks:
//	  backend: {internal: true}
//	machines:
//	  db:
//	    disk: ["debian:12"]
//	    net: [backend]
//	  web:
//	    disk: ["debian:12"]
//	    net: [default, backend]
//	    publish: ["8080:80"]
//
// The words of a machine are those of gureum run's flags (fleet/spec), those of a network
// of gureum network create's. Parse reads such a file, Diff finds what has to be done to
// have what it says, and Apply does that. The command line calls it; it does nothing that
// package fleet could not do for a single machine.
package project

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/gureum/gureum/fleet"
	"github.com/gureum/gureum/fleet/spec"
	"github.com/gureum/gureum/fleet/state"
)

// File is what a file says.
type File struct {
	// Name tells the project's machines from others; default the name of the file's
	// folder.
	Name     string              `json:"name,omitempty"`
	Networks map[string]*Network `json:"networks,omitempty"`
	Machines map[string]*Machine `json:"machines,omitempty"`
}

// Network is a network of a project: the flags of gureum network create.
type Network struct {
	Subnet     string `json:"subnet,omitempty"`
	IPv6       string `json:"ipv6,omitempty"`
	MTU        int    `json:"mtu,omitempty"`
	Internal   bool   `json:"internal,omitempty"`
	Isolated   bool   `json:"isolated,omitempty"`
	HostAccess bool   `json:"host-access,omitempty"`
	Shielded   bool   `json:"shielded,omitempty"`
}

// Machine is a machine of a project: the flags of gureum run. Its name is its key.
type Machine = spec.Spec

// Label is the label that says which project a machine belongs to.
const Label = "gureum.project"

// maxFile bounds a file, in bytes.
const maxFile = 4 << 20

// Parse reads a file. path says where it is: paths in it are relative to its folder.
// Errors name the line.
func Parse(r io.Reader, path string) (*File, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: more than %d bytes", path, maxFile)
	}
	var root yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&root); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: it is empty", path)
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: more than one document: give one file for each", path)
	}
	f := &File{}
	if err := decode(&root, f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	if err := f.complete(dir); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// decode reads a document into v by its JSON names. What has none is refused, with its
// line.
func decode(root *yaml.Node, v any) error {
	if err := checkKeys(root, reflect.TypeOf(v)); err != nil {
		return err
	}
	var plain any
	if err := root.Decode(&plain); err != nil {
		return err
	}
	text, err := json.Marshal(plain)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

// checkKeys compares the keys of a document with the fields of a type.
func checkKeys(n *yaml.Node, t reflect.Type) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.Kind == yaml.DocumentNode {
		return checkKeys(n.Content[0], t)
	}
	if n.Kind == yaml.AliasNode {
		return checkKeys(n.Alias, t)
	}
	isMap := t.Kind() == reflect.Struct || t.Kind() == reflect.Map
	switch {
	case n.Tag == "!!null":
		return nil
	case isMap && n.Kind != yaml.MappingNode:
		return fmt.Errorf("line %d: write KEY: VALUE here", n.Line)
	case !isMap:
		return checkValue(n, t)
	}
	fields := fieldsOf(t)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Tag == "!!merge" {
			continue
		}
		next := t.Elem
		if t.Kind() == reflect.Struct {
			field, ok := fields[key.Value]
			if !ok {
				return fmt.Errorf("line %d: %q is no word that is known here: give %s", key.Line, key.Value, strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
			}
			next = func() reflect.Type { return field }
		}
		if err := checkKeys(value, next()); err != nil {
			return err
		}
	}
	return nil
}

// checkValue checks that a value is of the kind that a field wants, as JSON's errors
// would not name the line.
func checkValue(n *yaml.Node, t reflect.Type) error {
	ok, want := true, ""
	switch t.Kind() {
	case reflect.String:
		ok, want = n.Kind == yaml.ScalarNode && n.Tag == "!!str", `text: put it in quotes, as in "8080:80"`
	case reflect.Bool:
		ok, want = n.Tag == "!!bool", "true or false"
	case reflect.Int:
		ok, want = n.Tag == "!!int", "a whole number"
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			return fmt.Errorf("line %d: give a list, as in [%s]", n.Line, n.Value)
		}
		for _, item := range n.Content {
			if err := checkValue(item, t.Elem()); err != nil {
				return err
			}
		}
	}
	if !ok {
		return fmt.Errorf("line %d: %q: give %s", n.Line, n.Value, want)
	}
	return nil
}

// fieldsOf gives the types of a struct's fields by their JSON names.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	if t.Kind() != reflect.Struct {
		return fields
	}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		fields[name] = f.Type
	}
	return fields
}

// complete fills in what the file leaves out and checks the rest.
func (f *File) complete(dir string) error {
	if f.Name == "" {
		f.Name = defaultName(filepath.Base(dir))
	}
	if err := state.CheckName("project", f.Name); err != nil {
		return err
	}
	for name, n := range f.Networks {
		if n == nil {
			f.Networks[name] = &Network{}
		}
		if err := state.CheckName("network", name); err != nil {
			return err
		}
	}
	for name, m := range f.Machines {
		if m == nil {
			m = &Machine{}
			f.Machines[name] = m
		}
		if err := f.completeMachine(name, m, dir); err != nil {
			return fmt.Errorf("machine %s: %w", name, err)
		}
	}
	return nil
}

func (f *File) completeMachine(name string, m *Machine, dir string) error {
	if m.Name != "" && m.Name != name {
		return fmt.Errorf("name %q: its name is its key: leave it out", m.Name)
	}
	m.Name = name
	if err := state.CheckName("machine", name); err != nil {
		return err
	}
	m.Anchor(dir)
	m.Label = append(m.Label, Label+"="+f.Name)
	plan, err := m.Plan()
	if err != nil {
		return err
	}
	return plan.Check()
}

// defaultName makes a name of a folder's.
func defaultName(dir string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, dir)
	name = strings.Trim(name, "-")
	if name == "" {
		return "project"
	}
	return name[:min(len(name), 63)]
}

// spec is the network in the words of package fleet.
func (n *Network) spec(name string) fleet.NetworkSpec {
	return fleet.NetworkSpec{
		Name: name, Subnet: n.Subnet, Subnet6: n.IPv6, MTU: n.MTU,
		Internal: n.Internal, Isolated: n.Isolated, HostAccess: n.HostAccess, Shielded: n.Shielded,
	}
}
