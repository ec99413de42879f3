package standin

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
)

// payload is a body to insert or update by: objects, and the columns they are about.
type payload struct {
	columns []int
	objects []map[string]json.RawMessage
}

// insert answers POST.
func (c *restCall) insert(h http.Header) (int, []byte, error) {
	fields, err := c.table.parseSelect(c.params.Get("select"))
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
	sets, err := c.proposed(body)
	if err != nil {
		return 0, nil, err
	}
	var out []byte
	var res inserted
	err = c.db.transact(&c.claims, func(tx *Tx) error {
		rows := make([][]value, len(sets))
		for i, set := range sets {
			var err error
			if rows[i], err = c.table.newRow(set, tx.now); err != nil {
				return err
			}
		}
		if res, err = tx.insert(c.table, rows, on); err != nil {
			return err
		}
		if c.prefer.ret == "representation" && !c.mayRead(res.rows) {
			return c.table.rowRefused("")
		}
		out, err = c.returned(fields, res.rows)
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	c.header.Set("Content-Range", c.writtenRange(0, len(res.rows)))
	if c.prefer.ret == "headers-only" && len(res.rows) == 1 {
		c.header.Set("Location", c.location(res.rows[0]))
	}
	if on.how == conflictMerges && res.fresh == 0 && len(res.rows) > 0 {
		return http.StatusOK, out, nil
	}
	return http.StatusCreated, out, nil
}

// mayRead tells whether the bearer may read all of the rows: RETURNING needs that.
func (c *restCall) mayRead(rows []*row) bool {
	sees := c.table.policyFor(&c.claims, forSelect)
	return !slices.ContainsFunc(rows, func(r *row) bool { return !sees.admitsRow(r.vals) })
}

// update answers PATCH.
func (c *restCall) update(h http.Header) (int, []byte, error) {
	body, err := c.parseBody(h)
	if err != nil {
		return 0, nil, err
	}
	if len(body.objects) > 1 {
		return 0, nil, &Error{Code: "PGRST102", Message: "All object keys must match"}
	}
	set := map[int]value{}
	for _, object := range body.objects {
		for _, column := range body.columns {
			if set[column], err = c.table.columns[column].typ.parseJSON(object[c.table.columns[column].name]); err != nil {
				return 0, nil, err
			}
		}
	}
	return c.change(forUpdate, func(tx *Tx, rows []*row) ([]*row, error) {
		if len(set) == 0 {
			return nil, nil
		}
		return tx.update(c.table, rows, set)
	})
}

// delete answers DELETE.
func (c *restCall) delete() (int, []byte, error) {
	return c.change(forDelete, func(tx *Tx, rows []*row) ([]*row, error) { return rows, tx.delete(c.table, rows) })
}

// change finds the rows that the filters name, does something to them in one transaction, and answers with what became of
// them. Supabase lets nobody write to all rows by leaving the filters out.
func (c *restCall) change(op operation, do func(*Tx, []*row) ([]*row, error)) (int, []byte, error) {
	fields, err := c.table.parseSelect(c.params.Get("select"))
	if err != nil {
		return 0, nil, err
	}
	filter, given, err := c.filters()
	if err != nil {
		return 0, nil, err
	}
	if given == 0 {
		return 0, nil, &Error{Code: "21000", Message: map[operation]string{forUpdate: "UPDATE", forDelete: "DELETE"}[op] + " requires a WHERE clause"}
	}
	order, err := c.table.parseOrder(c.params.Get("order"))
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
	var changed []*row
	err = c.db.transact(&c.claims, func(tx *Tx) error {
		var err error
		if changed, err = do(tx, c.matching(filter, forSelect, op)); err != nil {
			return err
		}
		if c.prefer.maxAffected >= 0 && len(changed) > c.prefer.maxAffected {
			return &Error{Code: "PGRST124", Message: "Query result exceeds max-affected preference constraint",
				Details: fmt.Sprintf("The query affects %d rows", len(changed))}
		}
		sortRows(changed, order)
		out, err = c.returned(fields, changed)
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	c.header.Set("Content-Range", c.writtenRange(map[operation]int{forUpdate: len(changed)}[op], len(changed)))
	if out == nil {
		return http.StatusNoContent, nil, nil
	}
	return http.StatusOK, out, nil
}

// returned is the body of the answer to a write: nothing unless return=representation. A single object that isn't one
// fails, and with it the transaction.
func (c *restCall) returned(fields projection, rows []*row) ([]byte, error) {
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
func (c *restCall) location(r *row) string {
	if len(c.table.key) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("/" + url.PathEscape(c.table.info.Name))
	for i, column := range c.table.key {
		b.WriteByte("?&"[min(i, 1)])
		b.WriteString(url.QueryEscape(c.table.columns[column].name) + "=eq." + url.QueryEscape(r.vals[column].text))
	}
	return b.String()
}

// parseBody reads the body's objects and finds their columns: those of the parameter columns, else those of the objects,
// which must have the same.
func (c *restCall) parseBody(h http.Header) (payload, error) {
	if kind, _, err := mime.ParseMediaType(h.Get("Content-Type")); h.Get("Content-Type") != "" && (err != nil || kind != mediaJSON && kind != mediaObject+"+json") {
		return payload{}, &Error{Code: "PGRST102", Message: "Content-Type not acceptable: " + h.Get("Content-Type")}
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
		return payload{}, &Error{Code: "PGRST102", Message: "Empty or invalid json"}
	}
	var names []string
	if c.params.Has("columns") {
		for _, item := range splitOutside(c.params.Get("columns"), ',') {
			name, rest, ok := cutName(strings.TrimSpace(item))
			if !ok || rest != "" {
				return payload{}, parseError("columns parameter", c.params.Get("columns"), 0, "expecting field name (* or [a..z0..9_$])")
			}
			names = append(names, name)
		}
	} else if len(p.objects) > 0 {
		names = slices.Sorted(maps.Keys(p.objects[0]))
		for _, o := range p.objects[1:] {
			if !slices.Equal(names, slices.Sorted(maps.Keys(o))) {
				return payload{}, &Error{Code: "PGRST102", Message: "All object keys must match"}
			}
		}
	}
	for _, name := range names {
		column, ok := c.table.byName[name]
		if !ok {
			return payload{}, &Error{Code: "PGRST204", Message: "Could not find the '" + name + "' column of '" + c.table.info.Name + "' in the schema cache"}
		}
		if !slices.Contains(p.columns, column) {
			p.columns = append(p.columns, column)
		}
	}
	return p, nil
}

// conflict is what on_conflict= and the preference resolution= make of an insert.
func (c *restCall) conflict(columns []int) (conflict, error) {
	if c.prefer.resolution == "" {
		return conflict{}, nil
	}
	on := conflict{how: conflictMerges, set: columns, on: c.table.primary()}
	if c.prefer.resolution == "ignore-duplicates" {
		on.how = conflictIgnored
	}
	if text := c.params.Get("on_conflict"); text != "" {
		var target []int
		for _, item := range splitOutside(text, ',') {
			name, _, _ := cutName(strings.TrimSpace(item))
			column, ok := c.table.byName[name]
			if !ok {
				return conflict{}, &Error{Code: "42703", Message: fmt.Sprintf("column %q does not exist", name)}
			}
			target = append(target, column)
		}
		if on.on = c.table.uniqueOn(target); on.on == nil {
			return conflict{}, &Error{Code: "42P10", Message: "there is no unique or exclusion constraint matching the ON CONFLICT specification"}
		}
	}
	if on.on == nil {
		return conflict{}, nil // no key to conflict on
	}
	return on, nil
}

// proposed reads the values to insert: a column that the body is about but an object lacks is null, or left out under
// missing=default. What is left out gets its default.
func (c *restCall) proposed(body payload) ([]map[int]value, error) {
	sets := make([]map[int]value, len(body.objects))
	size := int64(0)
	for i, object := range body.objects {
		sets[i] = make(map[int]value, len(body.columns))
		for _, column := range body.columns {
			raw, ok := object[c.table.columns[column].name]
			if !ok && c.prefer.missing == "default" {
				continue
			}
			v, err := c.table.columns[column].typ.parseJSON(raw)
			if err != nil {
				return nil, err
			}
			if size += int64(len(v.text)); size > c.db.limits.MaxBytes {
				return nil, c.db.full()
			}
			sets[i][column] = v
		}
	}
	return sets, nil
}
