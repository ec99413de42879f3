package feed

import (
	"bytes"
	"encoding/json"
	"hash/maphash"
	"slices"
	"strings"
	"time"
)

// Table says how a table's rows are told apart and put in order.
type Table struct {
	// Name is the table's, in the schema that the reader and the channel are set to.
	Name string
	// Key is the column of the primary key.
	Key string
	// Updated is the column with the time of the last change, kept by a trigger or by whoever writes; Created that of the creation. Either may be
	// empty. Without Updated, reads find new rows only; without both, none.
	Updated, Created string
}

// State gives a row's key and the instant of its version; an empty key or a zero time where the record tells none.
func (t Table) State(record json.RawMessage) (key string, at time.Time) {
	r := t.parse(record)
	return r.key, r.version.at
}

// Born gives the time of a row's creation, zero where the record does not tell.
func (t Table) Born(record json.RawMessage) time.Time { return t.parse(record).created }

// version orders the states of a row: the instant of its cursor column, and the exact text of it, since two texts of one microsecond are equal states only
// where they are the same text.
type version struct {
	text string
	at   time.Time
}

// row is what merging needs to know of a record.
type row struct {
	key     string
	created time.Time // zero where unknown
	version version   // zero where the table has no cursor column, or the row no value there
	columns map[string]json.RawMessage
}

// parse takes a record apart. A record that is no object, or lacks the key, has an empty key.
func (t *Table) parse(record json.RawMessage) row {
	var r row
	if len(record) == 0 || json.Unmarshal(record, &r.columns) != nil {
		return row{}
	}
	r.key = text(r.columns[t.Key])
	if t.Created != "" {
		r.created = ParseTime(text(r.columns[t.Created]))
	}
	for _, column := range []string{t.Updated, t.Created} {
		if column == "" {
			continue
		}
		if s := text(r.columns[column]); s != "" {
			r.version = version{s, ParseTime(s)}
			break
		}
	}
	return r
}

// text gives a scalar's text, "" for null and for what is composed.
func text(raw json.RawMessage) string {
	if len(raw) == 0 {
		return ""
	}
	switch raw[0] {
	case 'n', '{', '[':
		return ""
	case '"':
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return ""
		}
		return s
	}
	return string(raw)
}

// timeLayouts are PostgreSQL's timestamptz and timestamp as JSON has them; a missing zone is taken for UTC, and fractions of any length are read.
var timeLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05Z07", "2006-01-02 15:04:05", "2006-01-02T15:04:05Z07"}

// parseTime gives the zero time for what is no time, such as infinity.
func ParseTime(s string) time.Time {
	for _, layout := range timeLayouts {
		if at, err := time.Parse(layout, s); err == nil {
			return at
		}
	}
	return time.Time{}
}

var seed = maphash.MakeSeed()

// digest is equal for records with the same columns and values, however their JSON is spaced and ordered: Realtime and PostgREST write it differently.
func digest(columns map[string]json.RawMessage) uint64 {
	names := make([]string, 0, len(columns))
	for name := range columns {
		names = append(names, name)
	}
	slices.Sort(names)
	var h maphash.Hash
	h.SetSeed(seed)
	var compact bytes.Buffer
	for _, name := range names {
		compact.Reset()
		if json.Compact(&compact, columns[name]) != nil {
			compact.Write(columns[name])
		}
		h.WriteString(name)
		h.WriteByte(0)
		// bytea has no \x in front on the wire of Realtime, and one in PostgREST's
		h.WriteString(strings.TrimPrefix(compact.String(), `"\\x`))
		h.WriteByte(0)
	}
	return h.Sum64()
}
