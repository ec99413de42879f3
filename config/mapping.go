package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// OutRules are the rules of vocabulary.out, by event. The names of events are as they stand in the
// file, capitals and dots included.
type OutRules map[string][]OutRule

// OutRule says how one outgoing event is sent. Texts in Payload, Add, Args and Event may hold
// variables, ${row.id}; what they are package bridge/vocabulary knows, and it checks them.
type OutRule struct {
	Event   string                                `json:"event"`             // name the event is sent under
	To      []string                              `json:"to,omitempty"`      // audiences, as a union
	Except  string                                `json:"except,omitempty"`  // sender or nobody
	When    map[string][]string                   `json:"when,omitempty"`    // texts of columns for which the rule holds, null as "null"
	Shape   string                                `json:"shape,omitempty"`   // of the row
	Pick    []string                              `json:"pick,omitempty"`    // the only fields kept
	Omit    []string                              `json:"omit,omitempty"`    // fields left out
	Rename  map[string]string                     `json:"rename,omitempty"`  // new names by old
	Map     map[string]map[string]json.RawMessage `json:"map,omitempty"`     // by path of a field, what its values are replaced by
	Add     json.RawMessage                       `json:"add,omitempty"`     // an object of fields
	Payload json.RawMessage                       `json:"payload,omitempty"` // what is sent instead
	Args    []json.RawMessage                     `json:"args,omitempty"`    // several arguments instead
	Line    int                                   `json:"-"`                 // in the file, from 1; 0 where there is none
}

// InRules are the rules of vocabulary.in, by intent.
type InRules map[string]InRule

// InRule adds to how one intent is understood and answered.
type InRule struct {
	Events []string        `json:"events,omitempty"` // further names
	ID     []string        `json:"id,omitempty"`     // selectors of the id
	State  []string        `json:"state,omitempty"`  // selectors of the boolean of typing, or of a status
	Text   []string        `json:"text,omitempty"`   // selectors of the text of a message that is sent
	Ack    json.RawMessage `json:"ack,omitempty"`    // template of the answer
	Line   int             `json:"-"`                // in the file, from 1; 0 where there is none
}

// mapping reads the value of a key whose own keys are the user's. What is wrong is reported at the
// line where it stands.
func (r *documentReader) mapping(k *key, n *yaml.Node) any {
	if k.kind == inRules {
		rules := InRules{}
		r.members(k.path, n, func(path, name string, line int, value *yaml.Node) {
			rule := InRule{Line: r.line(line)}
			r.members(path, value, func(path, field string, _ int, value *yaml.Node) {
				switch field {
				case "events":
					rule.Events = r.texts(path, value)
				case "id":
					rule.ID = r.texts(path, value)
				case "state":
					rule.State = r.texts(path, value)
				case "text":
					rule.Text = r.texts(path, value)
				case "ack":
					rule.Ack = r.json(path, value, 0)
				default:
					r.stranger(path, value, "events", "id", "state", "text", "ack")
				}
			})
			rules[name] = rule
		})
		return rules
	}
	rules := OutRules{}
	r.members(k.path, n, func(path, name string, _ int, value *yaml.Node) {
		value = resolve(value)
		items := []*yaml.Node{value}
		if value.Kind == yaml.SequenceNode {
			items = value.Content
		}
		list := []OutRule{} // an empty one sends nothing
		for i, item := range items {
			list = append(list, r.outRule(fmt.Sprintf("%s[%d]", path, i), item))
		}
		rules[name] = list
	})
	return rules
}

// line is a line of the file; a variable has none.
func (r *documentReader) line(n int) int {
	if r.file == "" {
		return 0
	}
	return n
}

func (r *documentReader) outRule(path string, n *yaml.Node) OutRule {
	rule := OutRule{Line: r.line(n.Line)}
	r.members(path, n, func(path, field string, _ int, value *yaml.Node) {
		switch field {
		case "event":
			rule.Event = r.text(path, value)
		case "to":
			rule.To = r.texts(path, value)
		case "except":
			rule.Except = r.text(path, value)
		case "when":
			rule.When = make(map[string][]string)
			r.members(path, value, func(path, name string, _ int, value *yaml.Node) { rule.When[name] = r.scalars(path, value) })
		case "shape":
			rule.Shape = r.text(path, value)
		case "pick":
			rule.Pick = r.texts(path, value)
		case "omit":
			rule.Omit = r.texts(path, value)
		case "rename":
			rule.Rename = make(map[string]string)
			r.members(path, value, func(path, name string, _ int, value *yaml.Node) { rule.Rename[name] = r.text(path, value) })
		case "map":
			rule.Map = make(map[string]map[string]json.RawMessage)
			r.members(path, value, func(path, name string, _ int, value *yaml.Node) {
				table := make(map[string]json.RawMessage)
				r.members(path, value, func(path, from string, _ int, value *yaml.Node) { table[from] = r.json(path, value, 0) })
				rule.Map[name] = table
			})
		case "add":
			rule.Add = r.json(path, value, 0)
		case "payload":
			rule.Payload = r.json(path, value, 0)
		case "args":
			for _, item := range r.items(path, value) {
				rule.Args = append(rule.Args, r.json(path, item, 0))
			}
		default:
			r.stranger(
				path,
				value,
				"event",
				"to",
				"except",
				"when",
				"shape",
				"pick",
				"omit",
				"rename",
				"map",
				"add",
				"payload",
				"args",
			)
		}
	})
	return rule
}

// members calls f for each key of a mapping, with its path.
func (r *documentReader) members(path string, n *yaml.Node, f func(path, name string, line int, value *yaml.Node)) {
	n = resolve(n)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.errs.add(r.at(n), path, "expected keys below it, found %s", describe(n))
		return
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := resolve(n.Content[i])
		switch {
		case name.Kind != yaml.ScalarNode:
			r.errs.add(r.at(n.Content[i]), path, "expected a key, found %s", describe(name))
		case seen[name.Value]:
			r.errs.add(r.at(n.Content[i]), path+"."+named(name.Value), "given twice")
		default:
			seen[name.Value] = true
			f(path+"."+named(name.Value), name.Value, n.Content[i].Line, n.Content[i+1])
		}
	}
}

func (r *documentReader) stranger(path string, n *yaml.Node, known ...string) {
	name := path[strings.LastIndexByte(path, '.')+1:]
	if near := nearest(name, known); near != "" {
		r.errs.add(r.at(n), path, "unknown key, did you mean %s?", near)
		return
	}
	r.errs.add(r.at(n), path, "unknown key, known here are %s", strings.Join(known, ", "))
}

func (r *documentReader) text(path string, n *yaml.Node) string {
	n = resolve(n)
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		r.errs.add(r.at(n), path, "expected a text, found %s", describe(n))
		return ""
	}
	return n.Value
}

// items gives the members of a list, or a single value as one.
func (r *documentReader) items(path string, n *yaml.Node) []*yaml.Node {
	n = resolve(n)
	switch {
	case n.Kind == yaml.SequenceNode:
		return n.Content
	case n.Kind == yaml.ScalarNode && !isNull(n):
		return []*yaml.Node{n}
	}
	r.errs.add(r.at(n), path, "expected a list, found %s", describe(n))
	return nil
}

// texts reads a list of texts; true and false among them are taken as such.
func (r *documentReader) texts(path string, n *yaml.Node) []string {
	var texts []string
	for _, item := range r.items(path, n) {
		item = resolve(item)
		if item.Kind == yaml.ScalarNode && item.ShortTag() == "!!bool" {
			texts = append(texts, item.Value)
			continue
		}
		texts = append(texts, r.text(path, item))
	}
	return texts
}

// scalars reads one value or a list of them as texts; null is "null".
func (r *documentReader) scalars(path string, n *yaml.Node) []string {
	n = resolve(n)
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	var texts []string
	for _, item := range items {
		item = resolve(item)
		switch {
		case isNull(item):
			texts = append(texts, "null")
		case item.Kind == yaml.ScalarNode:
			texts = append(texts, item.Value)
		default:
			r.errs.add(r.at(item), path, "expected a value, found %s", describe(item))
		}
	}
	return texts
}

// maxTemplateDepth and maxTemplateSize bound a literal tree, which aliases could make deep and
// large without bound.
const (
	maxTemplateDepth = 32
	maxTemplateSize  = 64 << 10
)

// json writes a literal tree as JSON, its keys in the order of the file.
func (r *documentReader) json(path string, n *yaml.Node, depth int) json.RawMessage {
	n = resolve(n)
	if depth > maxTemplateDepth {
		r.errs.add(r.at(n), path, "expected at most %d levels", maxTemplateDepth)
		return json.RawMessage("null")
	}
	var buf bytes.Buffer
	room := func() bool { return buf.Len() <= maxTemplateSize }
	switch n.Kind {
	case yaml.MappingNode:
		buf.WriteByte('{')
		r.members(path, n, func(path, name string, _ int, value *yaml.Node) {
			if !room() {
				return
			}
			if buf.Len() > 1 {
				buf.WriteByte(',')
			}
			buf.Write(quoted(name))
			buf.WriteByte(':')
			buf.Write(r.json(path, value, depth+1))
		})
		buf.WriteByte('}')
	case yaml.SequenceNode:
		buf.WriteByte('[')
		for i, item := range n.Content {
			if !room() {
				break
			}
			if i > 0 {
				buf.WriteByte(',')
			}
			buf.Write(r.json(path, item, depth+1))
		}
		buf.WriteByte(']')
	default:
		buf.Write(r.scalar(path, n))
	}
	if !room() {
		r.errs.add(r.at(n), path, "expected at most %s", Size(maxTemplateSize))
		return json.RawMessage("null")
	}
	return buf.Bytes()
}

func (r *documentReader) scalar(path string, n *yaml.Node) json.RawMessage {
	switch n.ShortTag() {
	case "!!null":
		return json.RawMessage("null")
	case "!!str":
		return quoted(n.Value)
	case "!!bool", "!!int", "!!float":
		if json.Valid([]byte(n.Value)) {
			return json.RawMessage(n.Value)
		}
	}
	r.errs.add(r.at(n), path, "expected a text, a number, true, false or null, found %s (put it in quotes)", describe(n))
	return json.RawMessage("null")
}

func quoted(text string) json.RawMessage {
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // a string can always be encoded
	return bytes.TrimSpace(buf.Bytes())
}

// parseMapping reads the text of a variable, which is YAML.
func (k *key) parseMapping(s string) (any, *mismatch) {
	var errs Errors
	reader := &documentReader{errs: &errs}
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(s), &document); err != nil {
		return nil, &mismatch{expected: k.expectation(), hint: "it is not YAML"}
	}
	n := &yaml.Node{Kind: yaml.MappingNode}
	if len(document.Content) > 0 {
		n = document.Content[0]
	}
	value := reader.mapping(k, n)
	if len(errs) > 0 {
		return nil, &mismatch{expected: k.expectation(), hint: errs[0].Key + ": " + errs[0].Problem}
	}
	return value, nil
}

// mappingYAML writes the rules as they would stand in a file.
func mappingYAML(value any) *yaml.Node {
	data, err := json.Marshal(value)
	if err != nil {
		panic("config: rules can't be marshaled: " + err.Error())
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil { // JSON is YAML
		panic("config: rules are no YAML: " + err.Error())
	}
	mapping := document.Content[0]
	block(mapping)
	return mapping
}

// block has a tree written over several lines.
func block(n *yaml.Node) {
	if len(n.Content) > 0 {
		n.Style = 0
	}
	for _, child := range n.Content {
		block(child)
	}
}

// mappingSchema describes the rules to editors.
func (k *key) mappingSchema() map[string]any {
	texts := map[string]any{
		"type":  []string{"array", "string"},
		"items": map[string]any{"type": []string{"string", "boolean"}},
	}
	object := func(properties map[string]any) map[string]any {
		return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	}
	if k.kind == inRules {
		return object(map[string]any{"events": texts, "id": texts, "state": texts, "text": texts, "ack": map[string]any{}})
	}
	text := map[string]any{"type": "string"}
	table := map[string]any{"type": "object"}
	return map[string]any{"type": []string{"array", "object"}, "items": object(map[string]any{
		"event": text, "to": texts, "except": map[string]any{"enum": []string{"sender", "nobody"}}, "when": table,
		"shape": text, "pick": texts, "omit": texts, "rename": table, "map": table, "add": table,
		"payload": map[string]any{}, "args": map[string]any{"type": "array"},
	})}
}
