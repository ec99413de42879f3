package vocabulary

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/supabridge/supabridge/bridge/row"
)

// Shape is how a row stands in the payload of an event.
type Shape string

// The shapes. Values are always the bytes that came from Supabase: numbers keep their digits, timestamps their text.
const (
	// Row is the row as it is; what the bridge adds (conversationId and the tenant's id) is left out.
	Row Shape = "row"
	// Camel has the row's columns in camelCase, and what the bridge adds.
	Camel Shape = "camel"
	// Snake has the row's columns in snake_case, and conversation_id.
	Snake Shape = "snake"
	// Superset has the columns as they are and in camelCase, what the bridge adds, and the row once more in camelCase under `message`, so that it fits
	// whatever a frontend reads. It costs about three times the bytes.
	Superset Shape = "superset"
	// Wrapped is {message: the row in camelCase} and what the bridge adds.
	Wrapped Shape = "wrapped"
)

// Shapes lists the shapes.
func Shapes() []Shape { return []Shape{Row, Camel, Snake, Superset, Wrapped} }

// Extra is a field that the bridge adds to a row: its name in camelCase and the JSON text of its value. One without a value is left out.
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

// Shape builds the payload of an event about a row: nested is the name that Superset and Wrapped give the row within
// (`message`, `conversation`). It fails where there is no row.
func (v *Vocabulary) Shape(r row.Row, nested string, extras ...Extra) (json.RawMessage, error) {
	if len(r.Record) == 0 {
		return nil, errors.New("vocabulary: there is no row")
	}
	if v.opts.Shape == Row {
		return r.Record, nil
	}
	fields := r.Columns
	o := object{seen: make(map[string]bool, 2*len(fields)+len(extras)+1)}
	o.buf.Grow(3*len(r.Record) + 128)
	switch v.opts.Shape {
	case Camel:
		o.addAll(fields, camel)
	case Snake:
		o.addAll(fields, snake)
	case Superset:
		o.addAll(fields, func(name string) string { return name })
		o.addAll(fields, camel)
	}
	for _, e := range extras {
		name := e.Name
		if v.opts.Shape == Snake {
			name = snake(name)
		}
		o.add(name, e.Value)
		if v.opts.Shape == Superset && e.Name == "conversationId" {
			o.add("conversation_id", e.Value)
		}
	}
	if v.opts.Shape == Superset || v.opts.Shape == Wrapped {
		inner := object{seen: make(map[string]bool, len(fields))}
		inner.addAll(fields, camel)
		o.add(nested, inner.bytes())
	}
	return o.bytes(), nil
}

// object writes a JSON object in which the first of two equal names wins.
type object struct {
	buf  bytes.Buffer
	seen map[string]bool
}

func (o *object) addAll(fields []row.Column, rename func(string) string) {
	for _, f := range fields {
		o.add(rename(f.Name), f.Value)
	}
}

func (o *object) add(name string, value json.RawMessage) {
	if len(value) == 0 || o.seen[name] {
		return
	}
	o.seen[name] = true
	if o.buf.Len() == 0 {
		o.buf.WriteByte('{')
	} else {
		o.buf.WriteByte(',')
	}
	o.buf.Write(NewID(name).JSON)
	o.buf.WriteByte(':')
	o.buf.Write(value)
}

func (o *object) bytes() json.RawMessage {
	if o.buf.Len() == 0 {
		o.buf.WriteByte('{')
	}
	o.buf.WriteByte('}')
	return o.buf.Bytes()
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
