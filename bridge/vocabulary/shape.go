package vocabulary

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/supabridge/supabridge/bridge/row"
)

// Shape is how a row stands in the payload of an event.
type Shape string

// The shapes. Values are always the bytes that came from Supabase: numbers keep their digits,
// timestamps their text.
const (
	// Row is the row as it is; what the bridge adds (conversationId and the tenant's id) is left out.
	Row Shape = "row"
	// Camel has the row's columns in camelCase, and what the bridge adds.
	Camel Shape = "camel"
	// Snake has the row's columns in snake_case, and conversation_id.
	Snake Shape = "snake"
	// Superset has the columns as they are and in camelCase, what the bridge adds, and the row once
	// more in camelCase under `message`, so that it fits whatever a frontend reads. It costs about
	// three times the bytes.
	Superset Shape = "superset"
	// Wrapped is {message: the row in camelCase} and what the bridge adds.
	Wrapped Shape = "wrapped"
)

// Shapes lists the shapes.
func Shapes() []Shape { return []Shape{Row, Camel, Snake, Superset, Wrapped} }

// shapeCount is the number of shapes.
const shapeCount = 5

// Extra is a field that the bridge adds to a row: its name in camelCase and the JSON text of its
// value. One without a value is left out.
type Extra struct {
	Name  string
	Value json.RawMessage
}

// String makes an Extra of a text; an empty one is left out of payloads.
func String(name, value string) Extra {
	if value == "" {
		return Extra{Name: name}
	}
	return Extra{name, NewID(value).JSON}
}

// Bool makes an Extra of a truth.
func Bool(name string, value bool) Extra {
	if value {
		return Extra{name, json.RawMessage("true")}
	}
	return Extra{name, json.RawMessage("false")}
}

// shape gives the payload of an occasion in a shape, by its place in Shapes. It is built once.
func (v *Vocabulary) shape(place int, o *Occasion) json.RawMessage {
	switch {
	case o.List != nil:
		return o.List
	case o.Nested == "":
		place = 0
		if o.built[place] == nil {
			o.built[place] = o.Plain()
		}
	case o.built[place] == nil:
		o.built[place] = v.build(Shapes()[place], o)
	}
	return o.built[place]
}

// Plain gives the fields as one object, as no style and no rule has changed it.
func (o *Occasion) Plain() json.RawMessage {
	var all object
	for _, e := range o.Fields {
		all.add(e.Name, e.Value)
	}
	return all.bytes()
}

// build makes the payload of an event about a row.
func (v *Vocabulary) build(shape Shape, about *Occasion) json.RawMessage {
	r, nested, extras, left := about.Row, about.Nested, about.Fields, about.left
	if shape == Row {
		return r.Record
	}
	fields := r.Columns
	o := object{buf: make([]byte, 0, min(3*len(r.Record), len(r.Record)+largeValue)+128)}
	room := len(extras) + 2
	if shape != Wrapped {
		room += 2 * len(fields)
	}
	o.names = make([]string, 0, room)
	switch shape {
	case Camel:
		o.addAll(fields, v.camel)
		o.lack(left, v.camel)
	case Snake:
		o.addAll(fields, snake)
		o.lack(left, snake)
	case Superset:
		o.addAll(fields, nil)
		o.lack(left, nil)
		o.repeat(fields, v.camel)
		o.lack(left, v.camel)
	}
	for _, e := range extras {
		name := e.Name
		if shape == Snake {
			name = snake(name)
		}
		o.add(name, e.Value)
		if shape == Superset && e.Name == "conversationId" {
			o.add("conversation_id", e.Value)
		}
	}
	if (shape == Superset || shape == Wrapped) && o.begin(nested) {
		inner := object{buf: o.buf, start: len(o.buf), names: make([]string, 0, len(fields))}
		if shape == Superset {
			inner.repeat(fields, v.camel)
		} else {
			inner.addAll(fields, v.camel)
		}
		inner.lack(left, v.camel)
		o.buf = inner.bytes()
	}
	return o.bytes()
}

// object writes a JSON object, at the end of buf, in which the first of two equal names wins.
type object struct {
	buf   []byte
	start int      // where it begins
	names []string // those written; few enough to be looked through
	left  []string // those that were left out since they are large
}

func (o *object) addAll(fields []row.Column, rename func(string) string) {
	for _, f := range fields {
		name := f.Name
		if rename != nil {
			name = rename(name)
		}
		o.add(name, f.Value)
	}
}

// repeat is addAll for values that stand in the event already: large ones aren't written once more.
func (o *object) repeat(fields []row.Column, rename func(string) string) {
	for _, f := range fields {
		switch name := rename(f.Name); {
		case len(f.Value) <= largeValue:
			o.add(name, f.Value)
		case !slices.Contains(o.names, name):
			o.lack([]string{name}, nil)
		}
	}
}

// lack notes columns that the object doesn't have since they are large.
func (o *object) lack(columns []string, rename func(string) string) {
	for _, name := range columns {
		if rename != nil {
			name = rename(name)
		}
		if !slices.Contains(o.left, name) {
			o.left = append(o.left, name)
		}
	}
}

func (o *object) add(name string, value json.RawMessage) {
	if len(value) > 0 && o.begin(name) {
		o.buf = append(o.buf, value...)
	}
}

// begin writes a name, after which its value must follow; false where it has been written.
func (o *object) begin(name string) bool {
	if slices.Contains(o.names, name) {
		return false
	}
	o.names = append(o.names, name)
	if len(o.buf) == o.start {
		o.buf = append(o.buf, '{')
	} else {
		o.buf = append(o.buf, ',')
	}
	o.buf = append(appendQuoted(o.buf, name), ':')
	return true
}

func (o *object) bytes() json.RawMessage {
	if len(o.left) > 0 {
		o.add(truncated, nameList(o.left))
	}
	if len(o.buf) == o.start {
		o.buf = append(o.buf, '{')
	}
	return append(o.buf, '}')
}

// maxCamel bounds the column names whose camelCase is remembered. Columns are few; beyond it each
// is worked out anew.
const maxCamel = 4096

// camel is camel with a memory.
func (v *Vocabulary) camel(name string) string {
	if known, ok := v.camels.Load(name); ok {
		return known.(string)
	}
	turned := camel(name)
	if v.camelCount.Add(1) <= maxCamel {
		v.camels.Store(name, turned)
	}
	return turned
}

// camel turns snake_case into camelCase; a leading underscore stays.
func camel(name string) string {
	if !strings.Contains(name, "_") {
		return name
	}
	var b strings.Builder
	b.Grow(len(name))
	up := false
	for i, r := range name {
		switch {
		case r == '_' && i > 0 && i < len(name)-1:
			up = true
		case up:
			b.WriteRune(unicode.ToUpper(r))
			up = false
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// snake turns camelCase into snake_case.
func snake(name string) string {
	var b strings.Builder
	b.Grow(len(name) + 4)
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			if last, _ := utf8.DecodeLastRuneInString(name[:i]); !unicode.IsUpper(last) && last != '_' {
				b.WriteByte('_')
			}
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
