package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/template"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// outputForm is a --output: table, json, yaml or go-template=TEMPLATE. It is a flag
// value.
type outputForm struct {
	form     string
	text     string
	template *template.Template
}

const templatePrefix = "go-template="

// String is the value as it was given.
func (o *outputForm) String() string {
	if o.template != nil {
		return templatePrefix + o.text
	}
	return o.form
}

// Type names the value in help texts.
func (o *outputForm) Type() string { return "FORM" }

// Set parses the value.
func (o *outputForm) Set(text string) error {
	o.form, o.template = text, nil
	switch text {
	case "table", "json", "yaml":
		return nil
	}
	body, is := strings.CutPrefix(text, templatePrefix)
	if !is {
		return fmt.Errorf("give table, json, yaml or go-template=TEMPLATE, as in: -o 'go-template={{.name}}'")
	}
	t, err := template.New("output").Option("missingkey=zero").Funcs(template.FuncMap{"json": jsonText, "join": joinText}).Parse(body)
	if err != nil {
		return err
	}
	o.template, o.text = t, body
	return nil
}

// jsonText is the template function json: a value as JSON.
func jsonText(v any) (string, error) {
	text, err := json.Marshal(v)
	return string(text), err
}

// joinText is the template function join: the elements of a list, joined.
func joinText(list any, separator string) (string, error) {
	items, is := list.([]any)
	if !is && list != nil {
		return "", fmt.Errorf("join: %v is no list", list)
	}
	var out []string
	for _, item := range items {
		out = append(out, fmt.Sprint(item))
	}
	return strings.Join(out, separator), nil
}

// addOutputFlag adds -o with its default, in words that all commands share.
func addOutputFlag(f *pflag.FlagSet, o *outputForm, form string) {
	o.form = form
	f.VarP(o, "output", "o", "form of the output: table, json, yaml or go-template=TEMPLATE (with the words of json)")
}

// print writes a value in the form asked for. table writes it for people. A template is
// carried out once for each element of a list, each on a line of its own.
func (o *outputForm) print(w io.Writer, v any, table func(io.Writer) error) error {
	if o.template != nil {
		return o.printTemplate(w, v)
	}
	switch o.form {
	case "json":
		return printJSON(w, v)
	case "yaml":
		return printYAML(w, v)
	}
	return table(w)
}

// printLine is print for one value of a stream: JSON on one line, YAML as a document.
func (o *outputForm) printLine(w io.Writer, v any, table func(io.Writer) error) error {
	switch o.form {
	case "json":
		return json.NewEncoder(w).Encode(v)
	case "yaml":
		if _, err := io.WriteString(w, "---\n"); err != nil {
			return err
		}
	}
	return o.print(w, v, table)
}

// plain makes a value of maps, lists, texts and numbers, by its form in JSON.
func plain(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var out any
	err = d.Decode(&out)
	return numbers(out), err
}

// numbers makes whole numbers int64, so that large ones keep their digits and templates
// can compare them.
func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64() // it was written by encoding/json
		return f
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = numbers(v[key])
		}
	}
	return v
}

func (o *outputForm) printTemplate(w io.Writer, v any) error {
	p, err := plain(v)
	if err != nil {
		return err
	}
	items := []any{p}
	if reflect.ValueOf(v).Kind() == reflect.Slice {
		items, _ = p.([]any)
	}
	for _, item := range items {
		var line bytes.Buffer
		if err := o.template.Execute(&line, item); err != nil {
			return errors.New(strings.TrimPrefix(err.Error(), "template: "))
		}
		line.WriteByte('\n')
		if _, err := w.Write(line.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// printYAML writes what printJSON does, in the same order, as YAML.
func printYAML(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil { // JSON is YAML
		return err
	}
	if err := blockStyle(&root); err != nil {
		return err
	}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	return errors.Join(e.Encode(&root), e.Close())
}

// blockStyle takes the braces and quotes of JSON away. What needs quotes gets them back,
// words too that older readers take for something else, as yes and 22:22.
func blockStyle(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		return n.Encode(n.Value)
	}
	n.Style = 0
	if len(n.Content) == 0 && (n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode) {
		n.Style = yaml.FlowStyle
	}
	for _, child := range n.Content {
		if err := blockStyle(child); err != nil {
			return err
		}
	}
	return nil
}
