package cli

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

type thing struct {
	Name  string   `json:"name"`
	Size  uint64   `json:"size_bytes"`
	Share float64  `json:"share"`
	Tags  []string `json:"tags"`
	Empty []string `json:"empty"`
	Text  string   `json:"text"`
}

func TestOutputForms(t *testing.T) {
	list := []thing{
		{"a", 1 << 60, 0.5, []string{"x", "y"}, []string{}, "yes"},
		{"b", 7, 2, nil, nil, "22:22"},
	}
	table := func(w io.Writer) error {
		_, err := io.WriteString(w, "a table\n")
		return err
	}
	for form, want := range map[string]string{
		"table": "a table\n",
		"yaml": `- name: a
  size_bytes: 1152921504606846976
  share: 0.5
  tags:
    - x
    - "y"
  empty: []
  text: "yes"
- name: b
  size_bytes: 7
  share: 2
  tags: null
  empty: null
  text: "22:22"
`,
	} {
		var o outputForm
		if err := o.Set(form); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := o.print(&out, list, table); err != nil {
			t.Errorf("%s: %v", form, err)
		}
		if out.String() != want {
			t.Errorf("%s:\n%s\nwant\n%s", form, out.String(), want)
		}
	}
}

func TestOutputTemplates(t *testing.T) {
	list := []thing{{"a", 1 << 60, 0.5, []string{"x", "y"}, []string{}, ""}, {"b", 7, 2, nil, nil, ""}}
	for template, want := range map[string]string{
		`{{.name}} {{.size_bytes}}`:           "a 1152921504606846976\nb 7\n",
		`{{gt .size_bytes 9}}`:                "true\nfalse\n",
		`{{with .tags}}{{join . "+"}}{{end}}`: "x+y\n\n",
		`{{json .tags}}`:                      "[\"x\",\"y\"]\nnull\n",
		`{{range .tags}}{{.}};{{end}}`:        "x;y;\n\n",
		`{{if .missing}}is{{else}}not{{end}}`: "not\nnot\n",
	} {
		var o outputForm
		if err := o.Set(templatePrefix + template); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := o.print(&out, list, nil); err != nil || out.String() != want {
			t.Errorf("%s: %q, want %q, %v", template, out.String(), want, err)
		}
	}
	var o outputForm
	if err := o.Set(templatePrefix + `{{index .tags 5}}`); err != nil {
		t.Fatal(err)
	}
	if err := o.print(io.Discard, list, nil); err == nil || !strings.Contains(err.Error(), "index") {
		t.Errorf("an element that is not there: %v", err)
	}
	for _, bad := range []string{"", "xml", "json ", "go-template", templatePrefix + "{{", templatePrefix + "{{nofunc}}"} {
		if err := o.Set(bad); err == nil {
			t.Errorf("%q is taken for a form", bad)
		}
	}
}

func TestOutputOfAStream(t *testing.T) {
	for form, want := range map[string]string{
		"json":                    "{\"name\":\"a\"}\n{\"name\":\"b\"}\n",
		"yaml":                    "---\nname: a\n---\nname: b\n",
		"go-template=<{{.name}}>": "<a>\n<b>\n",
	} {
		var o outputForm
		if err := o.Set(form); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		for _, name := range []string{"a", "b"} {
			if err := o.printLine(&out, map[string]string{"name": name}, nil); err != nil {
				t.Error(err)
			}
		}
		if out.String() != want {
			t.Errorf("%s: %q", form, out.String())
		}
	}
}
