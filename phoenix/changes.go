package phoenix

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// EventType is the kind of a row change.
type EventType string

// The kinds of change that Realtime sends; All is for a Binding alone.
const (
	// All is every kind of change, in a Binding.
	All    EventType = "*"
	Insert EventType = "INSERT"
	Update EventType = "UPDATE"
	Delete EventType = "DELETE"
)

// Binding asks for row changes. The table must be in the publication
// supabase_realtime and have a primary key. Names are matched with SQL LIKE, so _
// and % in them are wildcards.
type Binding struct {
	// Event is All (also when empty), Insert, Update or Delete.
	Event EventType `json:"event"`
	// Schema; empty means public, and needs a Table. "*" is every schema.
	Schema string `json:"schema,omitempty"`
	// Table; empty or "*" means all tables of the schema.
	Table string `json:"table,omitempty"`
	// Filter narrows the rows; see Filter. For UPDATE the new row counts, for DELETE
	// the old row as far as the replica identity shows it.
	Filter Filter `json:"filter,omitempty"`
	// Select narrows the columns; the primary key always comes. Needs a Table.
	Select []string `json:"select,omitempty"`
}

func (b *Binding) validate() error {
	b.Event = EventType(strings.ToUpper(string(b.Event)))
	switch b.Event {
	case "":
		b.Event = All
	case All, Insert, Update, Delete:
	default:
		return fmt.Errorf("event %q: want INSERT, UPDATE, DELETE or *", b.Event)
	}
	if b.Schema == "" && b.Table == "" {
		return errors.New("needs a schema or a table")
	}
	if b.Schema == "" {
		b.Schema = "public" // a server refuses a filter without a schema
	}
	if len(b.Select) > 0 && (b.Table == "" || b.Table == "*" || b.Schema == "*") {
		return errors.New("select needs one table")
	}
	return nil
}

// bindings are a channel's bindings as sent, and how the server names them. Owned
// by the loop.
type bindings struct {
	sent  []Binding       // distinct, in the caller's order
	index [][]int         // for each sent one, its indexes in ChannelOptions.Changes
	ids   map[int64][]int // server id → indexes into sent; of the join in force
}

// newBindings drops repeats: equal bindings get one id from the server, and every
// change would name it twice.
func newBindings(all []Binding) bindings {
	b := bindings{sent: []Binding{}}
	for i, x := range all {
		at := slices.IndexFunc(b.sent, func(y Binding) bool { return x.equal(y) })
		if at < 0 {
			at = len(b.sent)
			b.sent = append(b.sent, x)
			b.index = append(b.index, nil)
		}
		b.index[at] = append(b.index[at], i)
	}
	return b
}

func (b Binding) equal(o Binding) bool {
	return b.Event == o.Event && b.Schema == o.Schema && b.Table == o.Table && b.Filter == o.Filter &&
		slices.Equal(b.Select, o.Select)
}

// bind takes the ids out of a join's reply. It reports false when the server names
// other bindings than were sent. Absent, null and empty are one; select isn't compared.
func (ch *channel) bind(response []byte) bool {
	var r struct {
		Changes []struct {
			ID     json.RawMessage `json:"id"`
			Event  string          `json:"event"`
			Schema string          `json:"schema"`
			Table  string          `json:"table"`
			Filter string          `json:"filter"`
		} `json:"postgres_changes"`
	}
	b := &ch.bindings
	b.ids = make(map[int64][]int, len(b.sent))
	if err := json.Unmarshal(response, &r); err != nil || len(r.Changes) != len(b.sent) {
		return len(b.sent) == 0
	}
	for i, got := range r.Changes {
		want := b.sent[i]
		if got.Schema == "" {
			got.Schema = "public"
		}
		if !strings.EqualFold(got.Event, string(want.Event)) || got.Schema != want.Schema || got.Table != want.Table ||
			got.Filter != string(want.Filter) {
			return false
		}
		id, ok := parseID(got.ID)
		if !ok {
			return false
		}
		b.ids[id] = append(b.ids[id], i)
	}
	return true
}

// parseID reads an id, an integer that some servers quote.
func parseID(v []byte) (int64, bool) {
	if len(v) > 1 && v[0] == '"' {
		v = v[1 : len(v)-1]
	}
	id, err := strconv.ParseInt(string(v), 10, 64)
	return id, err == nil
}

// Column is a column of a changed row, in table order.
type Column struct {
	Name string `json:"name"`
	// Type is Postgres' internal name, such as int4, timestamptz, or _text for text[].
	Type string `json:"type"`
}

// Change is a row that was inserted, updated or deleted. Changes come in commit
// order. The raw fields are the server's bytes, untouched.
type Change struct {
	Type          EventType
	Schema, Table string
	// CommitTime is when the transaction committed, to the millisecond; all rows of
	// a transaction share it. Zero when the server left it out, as it does with Errors.
	CommitTime time.Time
	// Columns are those the subscriber may see. The slice is shared between changes:
	// read only.
	Columns []Column
	// Record is the new row as a JSON object; nil for DELETE. After an UPDATE a large
	// column that did not change may be absent, which is not null: see Missing.
	Record json.RawMessage
	// OldRecord is what the table's replica identity keeps of the old row, by default
	// the primary key; nil for INSERT.
	OldRecord json.RawMessage
	// Errors says why the row is incomplete, such as "Error 413: Payload Too Large".
	// Re-read the row by its key.
	Errors []string
	// Bindings are the indexes into ChannelOptions.Changes that asked for this change.
	Bindings []int
	// Data is the server's whole description of the change.
	Data json.RawMessage
	// Received is when the change arrived, by the client's clock.
	Received time.Time

	few [4]int // backs Bindings, sparing an allocation
}

// Change reads the payload that the database function realtime.broadcast_changes
// sends: the same row change by the faster lane, with its whole old row. ok is false
// when the message is nothing of the kind. Columns, Bindings and CommitTime stay
// empty, since the message doesn't tell them, and Received is for the caller to set.
func (m *BroadcastMessage) Change() (c *Change, ok bool) {
	if m.Binary {
		return nil, false
	}
	c = &Change{Data: m.Payload}
	for it := wire.WalkObject(m.Payload); it.Next(); {
		if string(it.Value) == "null" {
			continue
		}
		switch string(it.Key) {
		case "operation":
			c.Type = changeType(it.Value)
		case "schema":
			c.Schema, _ = wire.Unquote(it.Value)
		case "table":
			c.Table, _ = wire.Unquote(it.Value)
		case "record":
			c.Record = it.Value
		case "old_record":
			c.OldRecord = it.Value
		}
	}
	if c.Type == "" || c.Table == "" || c.Record == nil && c.OldRecord == nil {
		return nil, false
	}
	return c, true
}

// changeType reads the JSON of INSERT, UPDATE or DELETE; anything else is empty.
func changeType(v []byte) EventType {
	switch string(v) {
	case `"INSERT"`:
		return Insert
	case `"UPDATE"`:
		return Update
	case `"DELETE"`:
		return Delete
	}
	return ""
}

var (
	errNoBinding = errors.New("realtime: change for no binding of the channel")
	errBadChange = errors.New("realtime: change lacks its type or table")
)

// receiveChange reads a postgres_changes payload: {"data":{…},"ids":[…]}.
func (ch *channel) receiveChange(payload []byte) {
	ev := &Change{Received: ch.c.now()}
	var ids []byte
	for it := wire.WalkObject(payload); it.Next(); {
		switch string(it.Key) {
		case "data":
			ev.Data = it.Value
		case "ids":
			ids = it.Value
		}
	}
	if !ch.readChange(ev) {
		ch.c.dropped(errBadChange)
		return
	}
	ch.matchBindings(ev, ids)
	if len(ev.Bindings) == 0 {
		ch.c.dropped(errNoBinding)
		return
	}
	ch.sawFeed(ev.Received)
	ch.deliver(ev)
}

func (ch *channel) readChange(ev *Change) bool {
	for it := wire.WalkObject(ev.Data); it.Next(); {
		v := it.Value
		if string(v) == "null" {
			continue
		}
		switch string(it.Key) {
		case "type":
			ev.Type = changeType(v)
		case "schema":
			ev.Schema = ch.c.nameOf(v)
		case "table":
			ev.Table = ch.c.nameOf(v)
		case "commit_timestamp":
			if len(v) > 2 {
				ev.CommitTime, _ = time.Parse(time.RFC3339, string(v[1:len(v)-1]))
			}
		case "record":
			ev.Record = v
		case "old_record":
			ev.OldRecord = v
		case "columns":
			ev.Columns = ch.readColumns(v)
		case "errors":
			if json.Unmarshal(v, &ev.Errors) != nil {
				ev.Errors = []string{string(v)}
			}
		}
	}
	return ev.Type != "" && ev.Table != ""
}

// nameOf interns the name in a JSON string.
func (c *Client) nameOf(v []byte) string {
	if v[0] != '"' {
		return ""
	}
	inner := v[1 : len(v)-1]
	for _, b := range inner {
		if b == '\\' {
			s, _ := wire.Unquote(v)
			return s
		}
	}
	return c.name(inner)
}

// maxColumnSets bounds the column lists a channel remembers; a table has one for
// each set of columns a binding may see.
const maxColumnSets = 64

// readColumns decodes a column list once for all changes that carry the same one.
func (ch *channel) readColumns(v []byte) []Column {
	if cols, ok := ch.columns[string(v)]; ok {
		return cols
	}
	var cols []Column
	if json.Unmarshal(v, &cols) != nil {
		return nil
	}
	if len(ch.columns) < maxColumnSets {
		ch.columns[string(v)] = cols
	}
	return cols
}

// matchBindings fills in which bindings asked for the change: those whose server id
// is named and whose event fits.
func (ch *channel) matchBindings(ev *Change, ids []byte) {
	b := &ch.bindings
	ev.Bindings = ev.few[:0]
	for it := wire.WalkArray(ids); it.Next(); {
		id, ok := parseID(it.Value)
		if !ok {
			continue
		}
		for _, at := range b.ids[id] {
			if e := b.sent[at].Event; e != All && e != ev.Type {
				continue
			}
			for _, i := range b.index[at] {
				if !slices.Contains(ev.Bindings, i) {
					ev.Bindings = append(ev.Bindings, i)
				}
			}
		}
	}
	slices.Sort(ev.Bindings)
}
