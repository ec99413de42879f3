package phxserver

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// smallValue is the size up to which a value survives in a row that is too large.
const smallValue = 64

// commitLayout prints a commit's time: UTC, milliseconds.
const commitLayout = "2006-01-02T15:04:05.000Z"

// appendRow appends a change as clients see it, limited to the selected columns.
func appendRow(dst []byte, c *Change, selected map[string]bool, opts Options) []byte {
	r := &rowDoc{change: c, selected: selected, toast: opts.ToastBytes}
	switch limit := opts.Limits.RecordBytes; {
	case len(c.Table.Key) == 0 && c.Type != "DELETE":
		r.failed = "Error 400: Bad Request, no primary key"
	case selected != nil && c.Type != "DELETE" && slices.ContainsFunc(c.Table.Key,
		func(name string) bool { return !selected[name] }):
		r.failed = "Error 401: Unauthorized"
	case limit > 0 && r.size() > limit:
		r.failed, r.smallOnly = "Error 413: Payload Too Large", true
	}
	return r.append(dst)
}

// rowDoc is one change being printed.
type rowDoc struct {
	change    *Change
	selected  map[string]bool // nil: every column
	toast     int
	failed    string // an error the row is told with
	smallOnly bool   // only values up to smallValue
}

// hollow is a row of which nothing is told but its error.
func (r *rowDoc) hollow() bool { return r.failed != "" && !r.smallOnly }

func (r *rowDoc) append(dst []byte) []byte {
	c := r.change
	dst = wire.AppendString(append(dst, `{"table":`...), c.Table.Name)
	dst = wire.AppendString(append(dst, `,"type":`...), c.Type)
	if c.Type != "DELETE" {
		dst = r.appendRecord(append(dst, `,"record":`...), c.New, r.newColumn)
	}
	dst = r.appendColumns(append(dst, `,"columns":`...))
	dst = append(dst, `,"errors":`...)
	if r.failed == "" {
		dst = append(dst, "null"...)
	} else {
		dst = append(wire.AppendString(append(dst, '['), r.failed), ']')
	}
	dst = wire.AppendString(append(dst, `,"schema":`...), c.Table.Schema)
	dst = append(dst, `,"commit_timestamp":`...)
	if r.hollow() {
		dst = append(dst, "null"...)
	} else {
		dst = wire.AppendString(dst, c.Commit.UTC().Truncate(time.Millisecond).Format(commitLayout))
	}
	if c.Type != "INSERT" {
		dst = r.appendRecord(append(dst, `,"old_record":`...), c.Old, r.oldColumn)
	}
	return append(dst, '}')
}

// newColumn says whether record carries a column: what is in the database's log,
// or in the old row.
func (r *rowDoc) newColumn(name string) bool {
	return r.change.FullIdentity || r.logged(name)
}

// logged says whether the log has a column's new value, which it hasn't of a large
// one that an UPDATE left alone.
func (r *rowDoc) logged(name string) bool {
	c := r.change
	if c.Type != "UPDATE" || r.toast <= 0 {
		return true
	}
	before, after := c.Old[name], c.New[name]
	return len(after) < r.toast || string(before) != string(after)
}

// oldColumn says whether old_record carries a column: what the replica identity
// has, but of a deleted row under row level security only the key.
func (r *rowDoc) oldColumn(name string) bool {
	c := r.change
	if c.FullIdentity && !(c.RLS && c.Type == "DELETE") {
		return true
	}
	for _, k := range c.Table.Key {
		if k == name {
			return true
		}
	}
	return false
}

// appendRecord appends a row as jsonb prints it.
func (r *rowDoc) appendRecord(dst []byte, row map[string]json.RawMessage, carries func(string) bool) []byte {
	types := make(map[string]string, len(r.change.Table.Columns))
	var names []string
	for _, col := range r.change.Table.Columns {
		raw, ok := row[col.Name]
		if !ok || r.hollow() || r.selected != nil && !r.selected[col.Name] || !carries(col.Name) {
			continue
		}
		if r.smallOnly && len(raw) > smallValue {
			continue
		}
		types[col.Name] = col.Type
		names = append(names, col.Name)
	}
	sortJSONBKeys(names)
	dst = append(dst, '{')
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(wire.AppendString(dst, name), ": "...)
		dst = appendValue(dst, row[name], types[name])
	}
	return append(dst, '}')
}

func (r *rowDoc) appendColumns(dst []byte) []byte {
	dst = append(dst, '[')
	if r.hollow() {
		return append(dst, ']')
	}
	first := true
	for _, col := range r.change.Table.Columns {
		if r.selected != nil && !r.selected[col.Name] {
			continue
		}
		if !first {
			dst = append(dst, ", "...)
		}
		first = false
		dst = wire.AppendString(append(dst, `{"name": `...), col.Name)
		dst = wire.AppendString(append(dst, `, "type": `...), col.Type)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// size estimates what the change takes in the database's log: both rows, and the
// names and types of the columns.
func (r *rowDoc) size() int {
	n := 0
	for _, col := range r.change.Table.Columns {
		overhead := len(col.Name) + len(col.Type) + 48
		if raw, ok := r.change.New[col.Name]; ok && r.logged(col.Name) {
			n += len(raw) + overhead
		}
		if raw, ok := r.change.Old[col.Name]; ok && r.oldColumn(col.Name) {
			n += len(raw) + overhead
		}
	}
	return n
}

// appendValue appends a value as changes have it, which is not quite how REST
// does: bytea lacks its \x, NaN and infinite numbers are null, json is in jsonb's
// order, of a bit string only the first bit is left.
func appendValue(dst []byte, raw json.RawMessage, columnType string) []byte {
	base, array := strings.CutPrefix(columnType, "_")
	switch {
	case array || base == "json" || base == "jsonb":
		v, err := decodeJSON(raw)
		if err != nil {
			return append(dst, "null"...)
		}
		if array {
			v = mapElements(v, func(e any) any { return toldElement(e, base) })
		}
		return appendJSONB(dst, v)
	case base == "bytea":
		if s, null := scalarText(raw); !null {
			return wire.AppendString(dst, strings.TrimPrefix(s, `\x`))
		}
	case base == "bit":
		if s, null := scalarText(raw); !null && s != "" {
			return wire.AppendString(dst, s[:1]) // the server casts to bit, which is bit(1)
		}
	case isNumeric(base) && len(raw) > 0 && raw[0] == '"':
		return append(dst, "null"...)
	}
	if len(raw) == 0 {
		return append(dst, "null"...)
	}
	return append(dst, raw...)
}

func isNumeric(pgType string) bool { return pgTypes[pgType].class == asNumber }

// mapElements applies do to the scalars of a nested array.
func mapElements(v any, do func(any) any) any {
	list, ok := v.([]any)
	if !ok {
		return do(v)
	}
	out := make([]any, len(list))
	for i, e := range list {
		out[i] = mapElements(e, do)
	}
	return out
}

func toldElement(v any, pgType string) any {
	s, isString := v.(string)
	switch {
	case !isString:
		return v
	case pgType == "bytea":
		return strings.TrimPrefix(s, `\x`)
	case isNumeric(pgType):
		return nil
	}
	return v
}
