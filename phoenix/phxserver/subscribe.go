package phxserver

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// subscription is one binding of a channel to one table. It doesn't change.
type subscription struct {
	ch       *channel
	claims   Claims // as of the subscription: a new token makes new ones
	id       uint32
	event    string // INSERT, UPDATE, DELETE or *
	filter   []matcher
	selected map[string]bool // nil: every column
	selKey   string          // the same set as text
}

// tableKey names a table.
type tableKey struct{ schema, name string }

// bindingParams is a binding as the database takes it.
type bindingParams struct {
	event, schema, table string
	filter               []condition
	selected             []string // nil: not given
}

func (p bindingParams) describe() string {
	filters := make([]string, len(p.filter))
	for i, c := range p.filter {
		filters[i] = c.describe()
	}
	selected := "nil"
	if p.selected != nil {
		selected = inspectStrings(p.selected)
	}
	return fmt.Sprintf("[event: %s, schema: %s, table: %s, filters: [%s], select: %s]",
		p.event, p.schema, p.table, strings.Join(filters, ", "), selected)
}

// subscribeAfter makes the channel's subscriptions, and tells the client, after a
// while; the ones it has stay until then.
func (ch *channel) subscribeAfter(d time.Duration) {
	stopTimer(ch.subscribe)
	if d <= 0 {
		ch.makeSubscriptions()
		return
	}
	ch.subscribe = ch.socket.after(d, func() {
		if !ch.stopped {
			ch.makeSubscriptions()
		}
	})
}

// makeSubscriptions subscribes to all of the channel's bindings or to none.
func (ch *channel) makeSubscriptions() {
	subs := make(map[tableKey][]*subscription)
	for _, b := range ch.config.bindings {
		if err := ch.bind(b, subs); err != nil {
			ch.socket.srv.feed.remove(ch)
			ch.system("postgres_changes", "error", err.Error())
			return
		}
	}
	ch.socket.srv.feed.set(ch, subs)
	ch.system("postgres_changes", "ok", "Subscribed to PostgreSQL")
}

// bind adds the subscriptions of one binding, one for each table it names.
func (ch *channel) bind(b map[string]any, subs map[tableKey][]*subscription) error {
	p, err := readBinding(b)
	if err != nil {
		return err
	}
	failed := func(err error) error {
		return told(
			"Unable to subscribe to changes with given parameters. An exception happened so please check your connect parameters: %s. Exception: %s",
			p.describe(),
			err,
		)
	}
	tables, err := ch.socket.srv.backend.Tables(ch.socket.ctx, ch.claims, p.schema, p.table)
	if err != nil {
		return failed(err)
	}
	if len(tables) == 0 {
		return told(
			"Unable to subscribe to changes with given parameters. Please check Realtime is enabled for the given connect parameters: %s",
			p.describe(),
		)
	}
	for _, t := range tables {
		sub := &subscription{ch: ch, claims: ch.claims, id: bindingID(b), event: p.event}
		if err := sub.fit(p, t); err != nil {
			return failed(err)
		}
		key := tableKey{t.Schema, t.Name}
		subs[key] = append(subs[key], sub)
	}
	return nil
}

// fit checks the filter and the selected columns against a table.
func (sub *subscription) fit(p bindingParams, t Table) error {
	types := make(map[string]string, len(t.Columns))
	for _, c := range t.Columns {
		types[c.Name] = c.Type
	}
	for _, c := range p.filter {
		columnType, ok := types[c.column]
		if !ok {
			return databaseError("P0001", "raise_exception", "invalid column for filter %s", c.column)
		}
		m, err := compile(c, columnType)
		if err != nil {
			return err
		}
		sub.filter = append(sub.filter, m)
	}
	if len(p.selected) == 0 && !t.Restricted {
		return nil
	}
	sub.selected = make(map[string]bool)
	for _, name := range p.selected {
		if _, ok := types[name]; !ok {
			return databaseError("P0001", "raise_exception", "invalid column for select %s", name)
		}
		sub.selected[name] = true
	}
	for _, c := range t.Columns {
		if len(p.selected) == 0 || slices.Contains(t.Key, c.Name) {
			sub.selected[c.Name] = true
		}
	}
	sub.selKey = "\x00" // not that of every column, even where it is none
	for _, c := range t.Columns {
		if sub.selected[c.Name] {
			sub.selKey += c.Name + "\x00"
		}
	}
	return nil
}

// readBinding reads a binding's parameters. An absent key has a default; one of
// the wrong type, null included, spoils the binding.
func readBinding(b map[string]any) (bindingParams, error) {
	p := bindingParams{event: "*", schema: "public", table: "*"}
	if event, ok := b["event"].(string); ok {
		switch e := strings.ToUpper(event); e {
		case "INSERT", "UPDATE", "DELETE":
			p.event = e
		}
	}
	schema, hasSchema := b["schema"]
	table, hasTable := b["table"]
	filter, hasFilter := b["filter"]
	var okS, okT, okF = true, true, true
	var filterText string
	if hasSchema {
		p.schema, okS = schema.(string)
	}
	if hasTable {
		p.table, okT = table.(string)
	}
	if hasFilter {
		filterText, okF = filter.(string)
	}
	if !okS || !okT || !okF || !hasSchema && !hasTable || hasFilter && !(hasSchema && hasTable) {
		return p, noParams(b)
	}
	var err error
	if p.filter, err = parseFilter(filterText); err != nil {
		return p, err
	}
	p.selected, err = readSelect(b)
	if err == nil && len(p.selected) > 0 && (p.schema == "*" || p.table == "*") {
		err = told("Error parsing `select` params: a table is required, wildcards are not supported")
	}
	return p, err
}

func noParams(b map[string]any) error {
	const text = "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: "
	if _, secret := b["user_token"]; secret {
		return told("%s<redacted>", text)
	}
	return told("%s%s", text, inspect(b))
}

func readSelect(b map[string]any) ([]string, error) {
	v, ok := b["select"]
	if !ok || v == nil {
		return nil, nil
	}
	list, ok := v.([]any)
	out := make([]string, 0, len(list))
	for _, e := range list {
		name, isString := e.(string)
		ok = ok && isString
		out = append(out, name)
	}
	if !ok {
		return nil, told(
			"Error parsing `select` params: expected a list of column name strings, e.g. select: [\"col1\", \"col2\"]",
		)
	}
	return out, nil
}

// wants tests a change against event and filter. An UPDATE is tested by its new
// row, a DELETE by what the replica identity tells of the old one.
func (sub *subscription) wants(kind string, row map[string]json.RawMessage) bool {
	if sub.event != "*" && sub.event != kind {
		return false
	}
	for i := range sub.filter {
		if !sub.filter[i].matches(row) {
			return false
		}
	}
	return true
}
