package vocabulary

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/supabridge/supabridge/bridge/row"
)

// node is a compiled template: a JSON value in whose texts ${…} stands for something. Nothing of it
// is parsed when it is filled in.
type node struct {
	literal []byte // JSON text without variables
	lone    *variable
	parts   []part // of a text with variables among other letters
	members []member
	items   []node
	is      kind
	table   map[string]json.RawMessage // what the value is replaced by, by its text; nil for none
}

type kind uint8

const (
	isLiteral kind = iota
	isLone
	isText
	isObject
	isList
)

type member struct {
	name []byte // with its quotes and colon
	key  string
	node node
}

type part struct {
	text     string
	variable *variable // nil for plain text
}

// variable is what stands between ${ and }.
type variable struct {
	root string
	path []string
}

// scope says which variables a template may use.
type scope struct {
	row, user, payload bool
}

func (s scope) names() string {
	names := []string{"conversation.id", "tenant.id"}
	if s.user {
		names = append(names, "user.id", "user.name")
	}
	if s.row {
		names = append(names, "row.COLUMN")
	}
	if s.payload {
		names = append(names, "payload", "payload.FIELD")
	}
	return strings.Join(names, ", ")
}

// variable reads what stands between ${ and }.
func (s scope) variable(text string) (*variable, error) {
	steps := strings.Split(text, ".")
	v := &variable{root: steps[0], path: steps[1:]}
	var known bool
	switch v.root {
	case "conversation", "tenant":
		known = len(v.path) == 1 && v.path[0] == "id"
	case "user":
		known = s.user && len(v.path) == 1 && (v.path[0] == "id" || v.path[0] == "name")
	case "row":
		known = s.row
	case "payload":
		known = s.payload
	}
	if !known || slices.Contains(v.path, "") {
		return nil, fmt.Errorf("no variable ${%s} here: there are %s", text, s.names())
	}
	return v, nil
}

// compile reads a template.
func (s scope) compile(raw json.RawMessage) (node, error) {
	switch {
	case len(raw) == 0 || !json.Valid(raw):
		return node{}, fmt.Errorf("%q is not JSON", raw)
	case raw[0] == '{':
		object, err := row.Parse(raw)
		if err != nil {
			return node{}, err
		}
		n := node{is: isObject}
		for _, c := range object.Columns {
			inner, err := s.compile(c.Value)
			if err != nil {
				return node{}, fmt.Errorf("%s: %w", c.Name, err)
			}
			n.members = append(n.members, newMember(c.Name, inner))
		}
		return n, nil
	case raw[0] == '[':
		var items []json.RawMessage
		if err := json.Unmarshal(raw, &items); err != nil {
			return node{}, err
		}
		n := node{is: isList}
		for _, item := range items {
			inner, err := s.compile(item)
			if err != nil {
				return node{}, err
			}
			n.items = append(n.items, inner)
		}
		return n, nil
	case raw[0] == '"':
		return s.compileText(row.Text(raw))
	}
	return node{literal: raw}, nil
}

func newMember(name string, n node) member {
	return member{name: append(appendQuoted(nil, name), ':'), key: name, node: n}
}

func (s scope) compileText(text string) (node, error) {
	var parts []part
	for rest := text; rest != ""; {
		before, after, found := strings.Cut(rest, "${")
		if before != "" {
			parts = append(parts, part{text: before})
		}
		if !found {
			break
		}
		name, tail, closed := strings.Cut(after, "}")
		if !closed {
			return node{}, fmt.Errorf("%q: ${ without }", text)
		}
		v, err := s.variable(strings.TrimSpace(name))
		if err != nil {
			return node{}, err
		}
		parts = append(parts, part{variable: v})
		rest = tail
	}
	switch {
	case len(parts) == 0 || len(parts) == 1 && parts[0].variable == nil:
		return node{literal: appendQuoted(nil, text)}, nil
	case len(parts) == 1:
		return node{is: isLone, lone: parts[0].variable}, nil
	}
	return node{is: isText, parts: parts}, nil
}

// hasPayload tells whether the shaped payload itself is part of it.
func (n *node) hasPayload() bool {
	whole := func(v *variable) bool { return v != nil && v.root == "payload" && len(v.path) == 0 }
	return whole(n.lone) || slices.ContainsFunc(n.parts, func(p part) bool { return whole(p.variable) }) ||
		slices.ContainsFunc(n.members, func(m member) bool { return m.node.hasPayload() }) ||
		slices.ContainsFunc(n.items, func(i node) bool { return i.hasPayload() })
}

// at gives the node at a path of object members, nil where there is none.
func (n *node) at(path []string) *node {
	for _, step := range path {
		i := slices.IndexFunc(n.members, func(m member) bool { return m.key == step })
		if i < 0 {
			return nil
		}
		n = &n.members[i].node
	}
	return n
}

// write fills the template in. What is not there is null.
func (n *node) write(buf []byte, f *filling) []byte {
	begin := len(buf)
	switch n.is {
	case isLiteral:
		buf = append(buf, n.literal...)
	case isLone:
		buf = append(buf, orNull(f.value(n.lone))...)
	case isText:
		buf = appendQuoted(buf, n.text(f))
	case isObject:
		buf = append(buf, '{')
		for i := range n.members {
			if i > 0 {
				buf = append(buf, ',')
			}
			buf = append(buf, n.members[i].name...)
			buf = n.members[i].node.write(buf, f)
		}
		buf = append(buf, '}')
	case isList:
		buf = append(buf, '[')
		for i := range n.items {
			if i > 0 {
				buf = append(buf, ',')
			}
			buf = n.items[i].write(buf, f)
		}
		buf = append(buf, ']')
	}
	if n.table != nil {
		buf = append(buf[:begin], translate(n.table, slices.Clone(buf[begin:]))...)
	}
	return buf
}

// text fills a template in that is a text.
func (n *node) text(f *filling) string {
	switch n.is {
	case isLiteral:
		return row.Text(n.literal)
	case isLone:
		return row.Text(f.value(n.lone))
	}
	var b strings.Builder
	for _, p := range n.parts {
		if p.variable == nil {
			b.WriteString(p.text)
		} else {
			b.WriteString(row.Text(f.value(p.variable)))
		}
	}
	return b.String()
}

// translate gives what a table has for a value, and the value itself where it has nothing.
func translate(table map[string]json.RawMessage, value json.RawMessage) json.RawMessage {
	key := row.Text(value)
	if key == "" {
		key = string(value) // null
	}
	if replaced, ok := table[key]; ok {
		return replaced
	}
	return value
}

func orNull(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}

// filling is what variables stand for while one event is told.
type filling struct {
	o      *Occasion
	shaped json.RawMessage
}

func (f *filling) value(v *variable) json.RawMessage {
	switch v.root {
	case "conversation":
		return f.o.Conversation.JSON
	case "tenant":
		return f.o.Tenant.JSON
	case "user":
		if v.path[0] == "name" {
			return f.o.UserName.JSON
		}
		return f.o.User.JSON
	case "row":
		if len(v.path) == 0 {
			return f.o.Row.Record
		}
		return inside(f.o.Row.Get(v.path[0]), v.path[1:])
	}
	if len(v.path) == 0 {
		return f.shaped
	}
	for _, field := range f.o.Fields {
		if field.Name == v.path[0] {
			return inside(field.Value, v.path[1:])
		}
	}
	return inside(f.o.Row.Get(v.path[0]), v.path[1:])
}

// inside follows a path of object keys; nil where it leads nowhere.
func inside(raw json.RawMessage, path []string) json.RawMessage {
	for _, step := range path {
		if len(raw) == 0 || raw[0] != '{' {
			return nil
		}
		object, err := row.Parse(raw)
		if err != nil {
			return nil
		}
		raw = object.Get(step)
	}
	return raw
}

// appendQuoted writes a text as JSON.
func appendQuoted(buf []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(text) // a string can always be marshaled
			return append(buf, quoted...)
		}
	}
	buf = append(buf, '"')
	buf = append(buf, text...)
	return append(buf, '"')
}
