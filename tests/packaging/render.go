// Renders a Helm chart's templates to standard output, with the functions that charts use: text/template, sprig, and
// Helm's include, required and toYaml. Helm itself brings a Kubernetes client of millions of lines; this brings none.
//
// usage: render CHART RELEASE [VALUE-FILE...]
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) < 3 {
		fail(fmt.Errorf("usage: render CHART RELEASE [VALUE-FILE...]"))
	}
	chart, release := os.Args[1], os.Args[2]
	about, values := read(filepath.Join(chart, "Chart.yaml")), read(filepath.Join(chart, "values.yaml"))
	for _, file := range os.Args[3:] {
		merge(values, read(file))
	}
	root := template.New("chart").Option("missingkey=error")
	root.Funcs(sprig.TxtFuncMap()).Funcs(template.FuncMap{
		"include":  func(name string, data any) (string, error) { return execute(root, name, data) },
		"required": required,
		"toYaml":   toYaml,
	})
	files, err := filepath.Glob(filepath.Join(chart, "templates", "*"))
	fail(err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		fail(err)
		_, err = root.New("templates/" + filepath.Base(file)).Parse(string(text))
		fail(err)
	}
	data := map[string]any{
		"Values":   values,
		"Chart":    map[string]any{"Name": about["name"], "Version": about["version"], "AppVersion": about["appVersion"]},
		"Release":  map[string]any{"Name": release, "Namespace": "default", "Service": "Helm"},
		"Template": map[string]any{"BasePath": "templates"},
	}
	for _, file := range files {
		if !strings.HasSuffix(file, ".yaml") {
			continue
		}
		text, err := execute(root, "templates/"+filepath.Base(file), data)
		fail(err)
		fmt.Printf("---\n# %s\n%s\n", filepath.Base(file), text)
	}
}

func execute(root *template.Template, name string, data any) (string, error) {
	var text bytes.Buffer
	err := root.ExecuteTemplate(&text, name, data)
	return text.String(), err
}

func required(message string, value any) (any, error) {
	if text, isText := value.(string); value == nil || isText && text == "" {
		return nil, fmt.Errorf("%s", message)
	}
	return value, nil
}

func toYaml(value any) (string, error) {
	text, err := yaml.Marshal(value)
	return strings.TrimSuffix(string(text), "\n"), err
}

func read(file string) map[string]any {
	text, err := os.ReadFile(file)
	fail(err)
	values := map[string]any{}
	fail(yaml.Unmarshal(text, &values))
	return values
}

func merge(into, from map[string]any) {
	for key, value := range from {
		below, isMap := value.(map[string]any)
		kept, wasMap := into[key].(map[string]any)
		if isMap && wasMap {
			merge(kept, below)
		} else {
			into[key] = value
		}
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
