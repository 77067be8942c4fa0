package project

import (
	"encoding/json"
	"reflect"
)

// Schema is the JSON Schema (draft 2020-12) of a file, for editors. It is published as
// docs/vms.schema.json.
func Schema() ([]byte, error) {
	schema := schemaOf(reflect.TypeFor[File]())
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "Machines and networks of gureum up"
	text, err := json.MarshalIndent(schema, "", "  ")
	return append(text, '\n'), err
}

func schemaOf(t reflect.Type) map[string]any {
	switch t.Kind() {
	case reflect.Pointer:
		inner := schemaOf(t.Elem())
		inner["type"] = []any{inner["type"], "null"}
		return inner
	case reflect.Struct:
		properties := map[string]any{}
		for name, field := range fieldsOf(t) {
			properties[name] = schemaOf(field)
		}
		return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int:
		return map[string]any{"type": "integer"}
	}
	return map[string]any{"type": "string"}
}
