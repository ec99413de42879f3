package sql

import "encoding/json"

// Field is what statements name: a column, or a place in the JSON of one (meta->items->0->>name).
type Field struct {
	Column string
	Path   []Step
	Text   bool // the last arrow is ->>
}

// Step is one key or index on the way into a JSON document.
type Step struct {
	Key     string
	Index   int // from the end when negative
	Indexed bool
}

// Expression is a field bound to a table: how to get its value from a row's. It is immutable.
type Expression struct {
	column int
	from   *Type // of the column
	typ    *Type // of the expression
	path   []Step
}

// The types of what paths give.
var (
	placeType = &Type{name: "jsonb", kind: kindJSONB}
	wordsType = &Type{name: "text", kind: kindText}
)

// expression finds a field's column.
func (t *table) expression(f Field) (Expression, error) {
	c, ok := t.byName[f.Column]
	if !ok {
		return Expression{}, t.unknownColumn(f.Column)
	}
	e := Expression{column: c, from: t.columns[c].typ, typ: t.columns[c].typ, path: f.Path}
	switch {
	case f.Text:
		e.typ = wordsType
	case len(f.Path) > 0:
		e.typ = placeType
	}
	return e, nil
}

// of is the value of the expression in a row.
func (e Expression) of(vals []value) value {
	v := vals[e.column]
	if len(e.path) == 0 || v.null {
		return v
	}
	raw := json.RawMessage(e.from.appendJSON(nil, v, toJSONB))
	for _, st := range e.path {
		var ok bool
		if raw, ok = st.into(raw); !ok {
			return null
		}
	}
	if e.typ != wordsType {
		return value{text: string(raw)}
	}
	if string(raw) == "null" {
		return null
	}
	if raw[0] != '"' {
		return value{text: string(raw)}
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return null
	}
	return value{text: s}
}

// into goes from a document to what it holds at a key or index; ok is false if it holds nothing
// there.
func (st Step) into(raw json.RawMessage) (json.RawMessage, bool) {
	switch raw[0] {
	case '{':
		var members map[string]json.RawMessage
		if json.Unmarshal(raw, &members) != nil {
			return nil, false
		}
		inner, ok := members[st.Key]
		return inner, ok
	case '[':
		var items []json.RawMessage
		if !st.Indexed || json.Unmarshal(raw, &items) != nil {
			return nil, false
		}
		i := st.Index
		if i < 0 {
			i += len(items)
		}
		if i < 0 || i >= len(items) {
			return nil, false
		}
		return items[i], true
	}
	return nil, false
}

// Sortable refuses an expression of a type that has no order.
func (e Expression) Sortable() error {
	if e.typ.kind == kindJSON {
		return &Error{Code: "42883", Message: "could not identify an ordering operator for type json",
			Hint: "Use an explicit ordering operator or modify the query."}
	}
	return nil
}
