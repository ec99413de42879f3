package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/supabridge/supabridge/bridge/standin/sql"
)

// payload is a body to insert or update by: objects, and the columns they are about.
type payload struct {
	columns []string
	objects []map[string]json.RawMessage
}

// insert answers POST.
func (c *restCall) insert(h http.Header) (int, []byte, error) {
	fields, err := parseSelect(c.table, c.params.Get("select"))
	if err != nil {
		return 0, nil, err
	}
	body, err := c.parseBody(h)
	if err != nil {
		return 0, nil, err
	}
	on, err := c.conflict(body.columns)
	if err != nil {
		return 0, nil, err
	}
	sets, err := c.table.Propose(body.columns, body.objects, c.prefer.missing == "default")
	if err != nil {
		return 0, nil, err
	}
	var out []byte
	var rows []*sql.Row
	var fresh int
	err = c.table.Insert(sets, on, c.prefer.ret == "representation", func(inserted []*sql.Row, n int) error {
		rows, fresh = inserted, n
		var err error
		out, err = c.returned(fields, rows)
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	c.header.Set("Content-Range", c.writtenRange(0, len(rows)))
	if c.prefer.ret == "headers-only" && len(rows) == 1 {
		c.header.Set("Location", c.location(rows[0]))
	}
	if on.Merges() && fresh == 0 && len(rows) > 0 {
		return http.StatusOK, out, nil
	}
	return http.StatusCreated, out, nil
}

// update answers PATCH.
func (c *restCall) update(h http.Header) (int, []byte, error) {
	body, err := c.parseBody(h)
	if err != nil {
		return 0, nil, err
	}
	if len(body.objects) > 1 {
		return 0, nil, &sql.Error{Code: "PGRST102", Message: "All object keys must match"}
	}
	var set sql.Assignment
	for _, object := range body.objects {
		if set, err = c.table.Assign(body.columns, object); err != nil {
			return 0, nil, err
		}
	}
	return c.change(sql.ForUpdate, func(filter sql.Filter, done func([]*sql.Row) error) error {
		return c.table.Update(filter, set, done)
	})
}

// delete answers DELETE.
func (c *restCall) delete() (int, []byte, error) { return c.change(sql.ForDelete, c.table.Delete) }

// change finds the rows that the filters name, does something to them in one transaction, and
// answers with what became of them. Supabase lets nobody write to all rows by leaving the filters
// out.
func (c *restCall) change(op sql.Operation, do func(sql.Filter, func([]*sql.Row) error) error) (int, []byte, error) {
	fields, err := parseSelect(c.table, c.params.Get("select"))
	if err != nil {
		return 0, nil, err
	}
	filter, given, err := c.filters()
	if err != nil {
		return 0, nil, err
	}
	if given == 0 {
		return 0, nil, &sql.Error{Code: "21000",
			Message: map[sql.Operation]string{sql.ForUpdate: "UPDATE", sql.ForDelete: "DELETE"}[op] + " requires a WHERE clause"}
	}
	order, err := parseOrder(c.table, c.params.Get("order"))
	if err != nil {
		return 0, nil, err
	}
	span, err := parseWindow(c.params.Get("limit"), c.params.Get("offset"))
	if err != nil {
		return 0, nil, err
	}
	if span != (window{limit: -1}) {
		return 0, nil, notImplemented("limit and offset on writes")
	}
	var out []byte
	var changed []*sql.Row
	err = do(filter, func(rows []*sql.Row) error {
		changed = rows
		if c.prefer.maxAffected >= 0 && len(changed) > c.prefer.maxAffected {
			return &sql.Error{Code: "PGRST124", Message: "Query result exceeds max-affected preference constraint",
				Details: fmt.Sprintf("The query affects %d rows", len(changed))}
		}
		sql.Sort(changed, order)
		var err error
		out, err = c.returned(fields, changed)
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	c.header.Set("Content-Range", c.writtenRange(map[sql.Operation]int{sql.ForUpdate: len(changed)}[op], len(changed)))
	if out == nil {
		return http.StatusNoContent, nil, nil
	}
	return http.StatusOK, out, nil
}

// returned is the body of the answer to a write: nothing unless return=representation. A single
// object that isn't one fails, and with it the transaction.
func (c *restCall) returned(fields sql.Projection, rows []*sql.Row) ([]byte, error) {
	if c.prefer.ret != "representation" {
		return nil, nil
	}
	return c.render(fields, rows)
}

// writtenRange is the Content-Range of a write of which shown rows are numbered.
func (c *restCall) writtenRange(shown, total int) string {
	return contentRange(0, shown, total, c.prefer.count != "")
}

// location is the path that reads a row by its key.
func (c *restCall) location(r *sql.Row) string {
	columns, texts := c.table.Key(r)
	if len(columns) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("/" + url.PathEscape(c.table.Name()))
	for i, column := range columns {
		b.WriteByte("?&"[min(i, 1)])
		b.WriteString(url.QueryEscape(column) + "=eq." + url.QueryEscape(texts[i]))
	}
	return b.String()
}

// parseBody reads the body's objects and finds their columns: those of the parameter columns, else
// those of the objects, which must have the same.
func (c *restCall) parseBody(h http.Header) (payload, error) {
	if kind, _, err := mime.ParseMediaType(h.Get("Content-Type")); h.Get("Content-Type") != "" &&
		(err != nil || kind != mediaJSON && kind != mediaObject+"+json") {
		return payload{}, &sql.Error{Code: "PGRST102", Message: "Content-Type not acceptable: " + h.Get("Content-Type")}
	}
	var p payload
	body := bytes.TrimSpace(c.body)
	var err error
	if len(body) > 0 && body[0] == '[' {
		err = json.Unmarshal(body, &p.objects)
	} else {
		var object map[string]json.RawMessage
		err = json.Unmarshal(body, &object)
		p.objects = []map[string]json.RawMessage{object}
	}
	if err != nil || slices.ContainsFunc(p.objects, func(o map[string]json.RawMessage) bool { return o == nil }) {
		return payload{}, &sql.Error{Code: "PGRST102", Message: "Empty or invalid json"}
	}
	var names []string
	if c.params.Has("columns") {
		for _, item := range splitOutside(c.params.Get("columns"), ',') {
			name, rest, ok := cutName(strings.TrimSpace(item))
			if !ok || rest != "" {
				return payload{}, parseError(
					"columns parameter",
					c.params.Get("columns"),
					0,
					"expecting field name (* or [a..z0..9_$])",
				)
			}
			names = append(names, name)
		}
	} else if len(p.objects) > 0 {
		names = slices.Sorted(maps.Keys(p.objects[0]))
		for _, o := range p.objects[1:] {
			if !slices.Equal(names, slices.Sorted(maps.Keys(o))) {
				return payload{}, &sql.Error{Code: "PGRST102", Message: "All object keys must match"}
			}
		}
	}
	for _, name := range names {
		if !c.table.HasColumn(name) {
			return payload{}, &sql.Error{Code: "PGRST204",
				Message: "Could not find the '" + name + "' column of '" + c.table.Name() + "' in the schema cache"}
		}
		if !slices.Contains(p.columns, name) {
			p.columns = append(p.columns, name)
		}
	}
	return p, nil
}

// conflict is what on_conflict= and the preference resolution= make of an insert.
func (c *restCall) conflict(columns []string) (sql.Conflict, error) {
	if c.prefer.resolution == "" {
		return sql.Conflict{}, nil
	}
	var target []string
	if text := c.params.Get("on_conflict"); text != "" {
		for _, item := range splitOutside(text, ',') {
			name, _, _ := cutName(strings.TrimSpace(item))
			target = append(target, name)
		}
	}
	return c.table.Conflict(target, c.prefer.resolution == "ignore-duplicates", columns)
}
