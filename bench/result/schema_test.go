package result

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const schemaFile = "../../docs/bench.schema.json"

// choices are the values of fields that are words.
var choices = map[string][]any{
	"Report.Clock":  {ClockWall, ClockInstructions},
	"Series.Better": {string(Lower), string(Higher)},
	"Note.Kind":     {KindMissing, KindNoise, KindMethod, KindError},
}

// schemaMaker makes the schema of the Go types, with their comments for descriptions.
type schemaMaker struct {
	comments map[string]string // by TYPE.FIELD
	defs     map[string]any
}

// of is the schema of a type. Fields are added to reports in later versions, so others than
// these are allowed.
func (m *schemaMaker) of(t reflect.Type) map[string]any {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t.Kind() == reflect.Pointer:
		return m.of(t.Elem())
	case t.Kind() == reflect.Struct:
		if _, made := m.defs[t.Name()]; !made {
			m.defs[t.Name()] = nil // for types that have themselves in them
			object := map[string]any{"type": "object", "properties": map[string]any{}, "required": []any{}}
			m.fields(object, t)
			m.defs[t.Name()] = object
		}
		return map[string]any{"$ref": "#/$defs/" + t.Name()}
	case t.Kind() == reflect.Slice:
		return map[string]any{"type": "array", "items": m.of(t.Elem())}
	case t.Kind() == reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": m.of(t.Elem())}
	case t.Kind() == reflect.String:
		return map[string]any{"type": "string"}
	case t.Kind() == reflect.Bool:
		return map[string]any{"type": "boolean"}
	case t.Kind() == reflect.Float64:
		return map[string]any{"type": "number"}
	case t.Kind() == reflect.Uint64:
		return map[string]any{"type": "integer", "minimum": 0}
	case t.Kind() == reflect.Int:
		return map[string]any{"type": "integer"}
	}
	panic("no schema for " + t.String())
}

func (m *schemaMaker) fields(object map[string]any, t reflect.Type) {
	for f := range t.Fields() {
		if f.Anonymous {
			m.fields(object, f.Type)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		field := m.of(f.Type)
		key := t.Name() + "." + f.Name
		if text := m.comments[key]; text != "" {
			field["description"] = text
		}
		if words := choices[key]; words != nil {
			field["enum"] = words
		}
		object["properties"].(map[string]any)[name] = field
		if options != "omitempty" {
			object["required"] = append(object["required"].([]any), name)
		}
	}
}

// comments are those of the fields of the package's types.
func comments(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "result.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, d := range file.Decls {
		g, is := d.(*ast.GenDecl)
		if !is || g.Tok != token.TYPE {
			continue
		}
		for _, spec := range g.Specs {
			s, is := spec.(*ast.TypeSpec).Type.(*ast.StructType)
			if !is {
				continue
			}
			for _, f := range s.Fields.List {
				text := strings.Join(strings.Fields(f.Doc.Text()+" "+f.Comment.Text()), " ")
				for _, name := range f.Names {
					all[spec.(*ast.TypeSpec).Name.Name+"."+name.Name] = text
				}
			}
		}
	}
	return all
}

func makeSchema(t *testing.T) []byte {
	t.Helper()
	m := &schemaMaker{comments: comments(t), defs: map[string]any{}}
	root := m.of(reflect.TypeFor[Report]())
	root["$schema"], root["title"], root["$defs"] = "https://json-schema.org/draft/2020-12/schema", "A report of gureum bench, schema 1", m.defs
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(text, '\n')
}

var update = flag.Bool("update", false, "write the published schema anew")

// TestSchemaIsPublished: the published schema has each field of the types. To write it anew:
//
//	go test ./bench/result -run Schema -update
func TestSchemaIsPublished(t *testing.T) {
	want := makeSchema(t)
	if *update {
		if err := os.WriteFile(schemaFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(schemaFile)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not the schema of the types (%v): go test ./bench/result -run Schema -update", schemaFile, err)
	}
	for _, field := range []string{"p99_9", "up_to", "clocksource", "steal", "better", "interrupted"} {
		if !bytes.Contains(want, []byte(`"`+field+`": {`)) {
			t.Errorf("the schema has no %q", field)
		}
	}
}

func published(t *testing.T) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func valid(t *testing.T, s *jsonschema.Schema, text []byte) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

// TestReportsAreValid validates reports of real runs, and one that has all fields.
func TestReportsAreValid(t *testing.T) {
	s := published(t)
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no reports: %v", err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := valid(t, s, text); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := Read(path); err != nil {
			t.Error(err)
		}
	}
	full, err := json.Marshal(Report{
		Schema: Schema, Clock: ClockWall, Interrupted: true, Noise: &Noise{}, Environment: Environment{Peers: map[string]string{"a": "b"}, Mitigations: []string{"m"}},
		Series: []Series{{Key: Key{"g", "f", "c", "s"}, Unit: Nanoseconds, Better: Lower, Samples: []float64{1}, Distribution: Summarize([]float64{1, 2})}},
		Notes:  []Note{{Group: "g", Kind: KindNoise, Text: "t"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := valid(t, s, full); err != nil {
		t.Error(err)
	}
	for _, change := range [][2]string{{`"wall"`, `"hours"`}, {`"schema":1`, `"schema":"1"`}, {`"samples":[1]`, `"samples":["1"]`}, {`"kind":"noise"`, `"kind":"?"`}, {`"subject":"s"`, `"subjekt":"s"`}} {
		broken := bytes.Replace(full, []byte(change[0]), []byte(change[1]), 1)
		if bytes.Equal(broken, full) || valid(t, s, broken) == nil {
			t.Errorf("%s in place of %s is taken", change[1], change[0])
		}
	}
}
