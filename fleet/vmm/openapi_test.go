package vmm

import (
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/gureum/gureum/fleet/api"
)

// document is what is looked at of docs/openapi.yaml.
type document struct {
	Paths      map[string]map[string]operation `yaml:"paths"`
	Components struct {
		Schemas map[string]schema `yaml:"schemas"`
	} `yaml:"components"`
}

type operation struct {
	RequestBody struct {
		Content map[string]struct {
			Schema schema `yaml:"schema"`
		} `yaml:"content"`
	} `yaml:"requestBody"`
	Responses map[string]struct {
		Content map[string]struct {
			Schema schema `yaml:"schema"`
		} `yaml:"content"`
	} `yaml:"responses"`
}

type schema struct {
	Ref        string            `yaml:"$ref"`
	Type       string            `yaml:"type"`
	Format     string            `yaml:"format"`
	Required   []string          `yaml:"required"`
	Properties map[string]schema `yaml:"properties"`
	Items      *schema           `yaml:"items"`
	Values     *schema           `yaml:"additionalProperties"`
}

func readDocument(t *testing.T) document {
	t.Helper()
	text, err := os.ReadFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var d document
	if err := yaml.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDocumentHasEveryCall(t *testing.T) {
	var written []string
	for path, operations := range readDocument(t).Paths {
		for method := range operations {
			written = append(written, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(written)
	if served := slices.Sorted(maps.Keys((&server{}).calls())); !slices.Equal(served, written) {
		t.Errorf("served:  %q\nwritten: %q", served, written)
	}
}

func TestDocumentHasEveryField(t *testing.T) {
	schemas := readDocument(t).Components.Schemas
	types := []any{
		api.Info{},
		api.Disk{},
		api.NIC{},
		api.Guest{},
		api.Stats{},
		api.Memory{},
		api.Queue{},
		api.Block{},
		api.Stop{},
		api.Size{},
		api.Update{},
		api.Link{},
		api.DiskLimit{},
		api.NICLimit{},
		api.Error{},
	}
	for _, v := range types {
		of := reflect.TypeOf(v)
		got, is := schemas[of.Name()]
		if !is {
			t.Errorf("%s is not written", of.Name())
			continue
		}
		delete(schemas, of.Name())
		if want := schemaOf(of); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: written\n%+v\nis\n%+v", of.Name(), got, want)
		}
	}
	for name := range schemas {
		t.Errorf("%s is written, and there is no such type", name)
	}
}

// TestDocumentNamesTheRightTypes compares what the operations carry with what the client
// sends and expects.
func TestDocumentNamesTheRightTypes(t *testing.T) {
	paths := readDocument(t).Paths
	for _, c := range []struct{ path, method, in, out string }{
		{"/v1", "get", "", "Info"},
		{"/v1", "patch", "Update", ""},
		{"/v1/stats", "get", "", "Stats"},
		{"/v1/stop", "post", "Stop", ""},
		{"/v1/console/size", "post", "Size", ""},
	} {
		o := paths[c.path][c.method]
		if got := o.RequestBody.Content["application/json"].Schema.Ref; got != ref(c.in) {
			t.Errorf("%s %s takes %q", c.method, c.path, got)
		}
		if got := o.Responses["200"].Content["application/json"].Schema.Ref; got != ref(c.out) {
			t.Errorf("%s %s gives %q", c.method, c.path, got)
		}
	}
}

func ref(name string) string {
	if name == "" {
		return ""
	}
	return "#/components/schemas/" + name
}

// schemaOf is the schema of a struct, by its JSON.
func schemaOf(of reflect.Type) schema {
	s := schema{Type: "object", Properties: map[string]schema{}}
	for i := range of.NumField() {
		field := of.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !strings.Contains(options, "omitempty") {
			s.Required = append(s.Required, name)
		}
		s.Properties[name] = schemaOfField(field.Type)
	}
	return s
}

func schemaOfField(of reflect.Type) schema {
	switch {
	case of == reflect.TypeFor[time.Time]():
		return schema{Type: "string", Format: "date-time"}
	case of.Kind() == reflect.Pointer:
		return schemaOfField(of.Elem())
	case of.Kind() == reflect.Struct:
		return schema{Ref: ref(of.Name())}
	case of.Kind() == reflect.Slice, of.Kind() == reflect.Array:
		items := schemaOfField(of.Elem())
		return schema{Type: "array", Items: &items}
	case of.Kind() == reflect.Map:
		values := schemaOfField(of.Elem())
		return schema{Type: "object", Values: &values}
	case of.Kind() == reflect.String:
		return schema{Type: "string"}
	case of.Kind() == reflect.Bool:
		return schema{Type: "boolean"}
	case of.Kind() == reflect.Float64:
		return schema{Type: "number"}
	case of.Kind() >= reflect.Int && of.Kind() <= reflect.Uint64:
		return schema{Type: "integer"}
	}
	return schema{Type: "unknown: " + of.String()}
}
