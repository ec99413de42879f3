package config

import (
	"embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// treeSource is where the keys are described: the comments of the fields are
// the reference's text.
//
//go:embed tree*.go
var treeSource embed.FS

// descriptions holds the comment of each field, by "Struct.Field", as one paragraph.
var descriptions = sync.OnceValue(func() map[string]string {
	files, err := treeSource.ReadDir(".")
	if err != nil {
		panic(fmt.Sprintf("config: the embedded sources: %v", err)) // they are there since it was compiled
	}
	found := make(map[string]string)
	for _, f := range files {
		text, err := treeSource.ReadFile(f.Name())
		if err != nil {
			panic(fmt.Sprintf("config: the embedded %s: %v", f.Name(), err))
		}
		describeFields(found, f.Name(), text)
	}
	return found
})

// describeFields adds the comments of the fields in one file.
func describeFields(found map[string]string, name string, source []byte) {
	file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ParseComments)
	if err != nil {
		panic(fmt.Sprintf("config: the embedded %s: %v", name, err)) // it was compiled from the same text
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, isType := n.(*ast.TypeSpec)
		if !isType {
			return true
		}
		if structure, ok := spec.Type.(*ast.StructType); ok {
			for _, field := range structure.Fields.List {
				for _, name := range field.Names {
					comment := strings.Join(strings.Fields(field.Doc.Text()), " ")
					found[spec.Name.Name+"."+name.Name] = comment
				}
			}
		}
		return false
	})
}

// description is what the reference says of the key: its comment, then what its tags allow.
func (k *key) description() string {
	s := descriptions()[k.owner+"."+k.field]
	if k.bounded {
		s += fmt.Sprintf(" From %s to %s.", k.bound(k.low), k.bound(k.high))
	}
	if names := wellKnown[k.path]; names != nil {
		s += " Also read from the environment as " + strings.Join(names, ", ") + "."
	}
	if k.kind != section && k.isLive() {
		s += " Taken on by a running daemon when the file changes."
	}
	return s
}

const referenceHead = `Every key with its default and what it is for. A file may leave out all it doesn't change.
Each key can be set in the environment too: SUPABRIDGE_ and the path in capitals with _ for dots, such as
SUPABRIDGE_SUPABASE_URL; lists with commas between. Flags beat the environment, that beats the file.
Durations are written 300ms, 25s, 1m30s, sizes 64KiB, 1MiB (of 1024) or 1MB (of 1000).`

// Reference writes all keys with their defaults as YAML that Load reads, each
// under the comment that describes it.
func Reference(w io.Writer) error {
	document := toYAML(root(), Default(), func(k *key, name, value *yaml.Node) {
		width := 100 - 2*strings.Count(k.path, ".")
		name.HeadComment = comment(k.description(), width)
		if k.kind == section && strings.Count(k.path, ".") == 0 {
			name.HeadComment = "\n" + name.HeadComment
		}
	})
	if _, err := io.WriteString(w, comment(referenceHead, 0)+"\n\n"); err != nil {
		return fmt.Errorf("write reference: %w", err)
	}
	if err := writeYAML(w, document); err != nil {
		return fmt.Errorf("write reference: %w", err)
	}
	return nil
}

// comment breaks the text into # lines of at most width bytes; width 0 keeps its own lines.
func comment(text string, width int) string {
	var lines []string
	if width == 0 {
		lines = strings.Split(text, "\n")
	} else {
		line := ""
		for _, word := range strings.Fields(text) {
			if line != "" && len("# ")+len(line)+1+len(word) > width {
				lines = append(lines, line)
				line = ""
			}
			line = strings.TrimSpace(line + " " + word)
		}
		lines = append(lines, line)
	}
	return "# " + strings.Join(lines, "\n# ")
}

// Schema returns a JSON Schema (2020-12) of the file, for editors that complete
// and check YAML. It knows names, types, enums and defaults; what must agree
// with what only Load knows.
func Schema() []byte {
	schema := root().schema(Default())
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "supabridge configuration"
	data, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("config: schema: %v", err)) // strings, numbers and maps of them
	}
	return append(data, '\n')
}

const (
	durationPattern = `^(0|([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+)$`
	sizePattern     = `^[0-9]+ ?(B|KB|KiB|MB|MiB|GB|GiB)?$`
)

func (k *key) schema(defaults *Config) map[string]any {
	s := make(map[string]any)
	if k.path != "" {
		s["description"] = k.description()
	}
	if k.kind == section {
		properties := make(map[string]any)
		for _, child := range k.children {
			properties[child.name] = child.schema(defaults)
		}
		s["type"] = []string{"object", "null"}
		s["properties"] = properties
		s["additionalProperties"] = false
		return s
	}
	value := k.in(defaults)
	switch k.kind {
	case boolean:
		s["type"], s["default"] = "boolean", value.Bool()
	case number:
		s["type"], s["default"] = "integer", value.Int()
		s["minimum"], s["maximum"] = k.low, k.high
	case duration:
		s["type"], s["default"], s["pattern"] = "string", k.bound(value.Int()), durationPattern
	case size:
		s["type"], s["default"], s["pattern"] = []string{"string", "integer"}, k.bound(value.Int()), sizePattern
	case list:
		items := map[string]any{"type": "string"}
		if k.enum != nil {
			items["enum"] = k.enum
		}
		members := value.Interface().([]string)
		s["type"], s["items"], s["default"] = "array", items, append([]string{}, members...)
	case inRules, outRules:
		s["type"], s["default"], s["additionalProperties"] = []string{"object", "null"}, map[string]any{}, k.mappingSchema()
	default:
		s["type"], s["default"] = "string", value.String()
		if k.enum != nil {
			s["enum"] = k.enum
		}
	}
	return s
}
