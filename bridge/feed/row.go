package feed

import (
	"encoding/json"
	"time"

	"github.com/supabridge/supabridge/bridge/row"
)

// Table says how a table's rows are told apart and put in order.
type Table struct {
	// Name is the table's, in the schema that the reader and the channel are set to.
	Name string
	// Key is the column of the primary key.
	Key string
	// Updated is the column with the time of the last change, kept by a trigger or by whoever writes;
	// Created that of the creation. Either may be empty. Without Updated, reads find new rows only;
	// without both, none.
	Updated, Created string
	// Group is a column by whose values changes keep their order, beside that of each row, across all
	// tables; empty: there is none.
	Group string
}

// State gives a row's key and the instant of its version; an empty key or a zero time where the row
// tells none.
func (t Table) State(r row.Row) (key string, at time.Time) {
	return r.Text(t.Key), t.version(r).at
}

// Born gives the time of a row's creation, zero where the row does not tell.
func (t Table) Born(r row.Row) time.Time { return row.Time(r.Text(t.Created)) }

// version orders the states of a row: the instant of its cursor column, and the text of it for what
// is no instant, such as infinity.
type version struct {
	text string
	at   time.Time
}

// same reports whether two versions are one. Texts of one instant differ: Realtime, PostgREST and a
// trigger in the writer's session each write a time in the time zone of their own session.
func (v version) same(other version) bool {
	if v.at.IsZero() || other.at.IsZero() {
		return v.text == other.text
	}
	return v.at.Equal(other.at)
}

// version is zero where the table has no cursor column, or the row no value there.
func (t Table) version(r row.Row) version {
	for _, column := range []string{t.Updated, t.Created} {
		if text := r.Text(column); text != "" {
			return version{text, row.Time(text)}
		}
	}
	return version{}
}

// parse takes a record apart; one that is no object has no columns, and so no key.
func parse(record json.RawMessage) row.Row {
	r, err := row.Parse(record)
	if err != nil {
		return row.Row{}
	}
	return r
}
