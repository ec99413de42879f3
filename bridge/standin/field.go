package standin

import (
	"encoding/json"
	"strconv"
	"strings"
)

// field is what select, order and filters name: a column, or a place in the JSON of one (meta->items->0->>name).
type field struct {
	column string
	path   []step
	text   bool // the last arrow is ->>
}

// step is one key or index on the way into a JSON document.
type step struct {
	key     string
	index   int // from the end when negative
	indexed bool
}

// cutField takes a field off the start of a text. ok is false if there is none, or its path isn't complete.
func cutField(s string) (f field, rest string, ok bool) {
	f.column, rest, ok = cutName(s)
	for ok && strings.HasPrefix(rest, "->") {
		if f.text {
			return f, rest, false // ->> gives a text, in which there are no places
		}
		rest, f.text = strings.CutPrefix(rest[2:], ">")
		var st step
		st, rest, ok = cutStep(rest)
		f.path = append(f.path, st)
	}
	return f, rest, ok
}

func cutStep(s string) (st step, rest string, ok bool) {
	if text, n, quoted := cutQuoted(s); quoted {
		return step{key: text}, s[n:], true
	}
	i := strings.IndexAny(s, "(:.,>)")
	if i < 0 {
		i = len(s)
	} else if s[i] == '>' && i > 0 && s[i-1] == '-' {
		i--
	}
	st.key = strings.TrimSpace(s[:i])
	if n, err := strconv.ParseInt(st.key, 10, 32); err == nil {
		st.index, st.indexed = int(n), true
	}
	return st, s[i:], st.key != ""
}

// name is the key of a field in an answer: the column's name, or the last key of the path.
func (f field) name() string {
	for i := len(f.path) - 1; i >= 0; i-- {
		if !f.path[i].indexed {
			return f.path[i].key
		}
	}
	return f.column
}

// cutName takes a column's name, plain or quoted, off a text.
func cutName(s string) (name, rest string, ok bool) {
	if text, n, quoted := cutQuoted(s); quoted {
		return text, s[n:], text != ""
	}
	i := strings.IndexAny(s, `:."(),`)
	if i < 0 {
		i = len(s)
	}
	if arrow := strings.Index(s[:i], "->"); arrow >= 0 {
		i = arrow
	}
	name = strings.TrimSpace(s[:i])
	return name, s[i:], name != ""
}

// expression is a field bound to a table: how to get its value from a row's. It is immutable.
type expression struct {
	column int
	from   *columnType // of the column
	typ    *columnType // of the expression
	path   []step
}

// The types of what paths give.
var (
	placeType = &columnType{name: "jsonb", kind: kindJSONB}
	wordsType = &columnType{name: "text", kind: kindText}
)

// expression finds a field's column.
func (t *table) expression(f field) (expression, error) {
	c, ok := t.byName[f.column]
	if !ok {
		return expression{}, t.unknownColumn(f.column)
	}
	e := expression{column: c, from: t.columns[c].typ, typ: t.columns[c].typ, path: f.path}
	switch {
	case f.text:
		e.typ = wordsType
	case len(f.path) > 0:
		e.typ = placeType
	}
	return e, nil
}

// of is the value of the expression in a row.
func (e expression) of(vals []value) value {
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

// into goes from a document to what it holds at a key or index; ok is false if it holds nothing there.
func (st step) into(raw json.RawMessage) (json.RawMessage, bool) {
	switch raw[0] {
	case '{':
		var members map[string]json.RawMessage
		if json.Unmarshal(raw, &members) != nil {
			return nil, false
		}
		inner, ok := members[st.key]
		return inner, ok
	case '[':
		var items []json.RawMessage
		if !st.indexed || json.Unmarshal(raw, &items) != nil {
			return nil, false
		}
		i := st.index
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
