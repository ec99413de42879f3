package sql

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

func newUUID() string { return uuid.NewString() }

// Limits bound what a DB holds. Zero fields take the defaults.
type Limits struct {
	// MaxBytes bounds the approximate memory of all rows. Default 512 MiB. A transaction over it fails
	// with code 53100.
	MaxBytes int64
}

const defaultMaxBytes = 512 << 20

// Tx is one transaction. It is for the function it was handed to and for its goroutine alone. Once
// one of its calls has failed, the others fail with code 25P02.
type Tx struct {
	db      *DB
	now     time.Time // of the transaction: what now() gives throughout
	claims  *Claims   // whose transaction it is; nil is the owner, over row security
	changes []pending // in order; also what a rollback takes back
	checks  []check   // foreign keys to look at when the statement ends
	failed  error     // first error; the transaction can't commit any more
}

// pending is a change not yet committed, and enough to take it back. old or new is nil for INSERT
// and DELETE, both for TRUNCATE.
type pending struct {
	table     *table
	old, new  *Row
	truncated []*Row // the heap before
}

// check is a foreign key to look at: whether row, of key.from, has its parent, or what becomes of
// the children of gone, a row of key.to that was deleted or whose key changed.
type check struct {
	key     foreignKey
	row     *Row
	gone    *Row
	deleted bool
}

var errAborted = errors.New("standin: the transaction was aborted by an earlier error")

// Tx runs fn as one transaction: when it returns nil and no call failed, all it did becomes visible
// at once and listeners are told; else nothing of it remains. The error is fn's, or that of the
// first call that failed, an *Error. It runs as the owner of the tables, whom row security does not
// hold.
//
// fn runs while readers and other transactions wait: it must be short and must use tx alone, never
// db.
func (db *DB) Tx(fn func(tx *Tx) error) error { return db.transact(nil, fn) }

func (db *DB) transact(claims *Claims, fn func(tx *Tx) error) error {
	db.commit.Lock()
	defer db.commit.Unlock()
	tx := &Tx{db: db, now: db.now(), claims: claims}
	if err := tx.run(fn); err != nil {
		return err
	}
	if len(tx.changes) == 0 {
		return nil
	}
	if at := db.now(); at.After(db.lastCommit) {
		db.lastCommit = at
	}
	listeners := db.currentListeners()
	if len(listeners) == 0 {
		return nil
	}
	changes := tx.committed(db.lastCommit)
	for _, l := range listeners {
		l.fn(changes)
	}
	return nil
}

// run is the part of a transaction that holds readers off. It takes everything back on an error and
// on a panic.
func (tx *Tx) run(fn func(tx *Tx) error) error {
	tx.db.mu.Lock()
	defer tx.db.mu.Unlock()
	done := false
	defer func() {
		if !done {
			tx.rollback()
		}
	}()
	err := fn(tx)
	if err == nil && tx.failed != nil {
		err = fmt.Errorf("%w: %w", errAborted, tx.failed)
	}
	if err != nil {
		return err
	}
	done = true
	touched := map[*table]bool{}
	for _, c := range tx.changes {
		if !touched[c.table] {
			touched[c.table] = true
			c.table.compact()
		}
	}
	return nil
}

func (tx *Tx) rollback() {
	for i := len(tx.changes) - 1; i >= 0; i-- {
		c := tx.changes[i]
		switch {
		case c.truncated != nil:
			c.table.refill(c.truncated)
			for _, r := range c.table.rows() {
				tx.db.bytes += r.size()
			}
		case c.old == nil:
			c.table.put(c.new.pos, nil)
			c.table.heap = c.table.heap[:c.new.pos]
			tx.db.bytes -= c.new.size()
		case c.new == nil:
			c.table.put(c.old.pos, c.old)
			tx.db.bytes += c.old.size()
		default:
			c.table.put(c.old.pos, c.old)
			tx.db.bytes += c.old.size() - c.new.size()
		}
	}
}

// refill gives a table a heap, and its indexes the rows of it.
func (t *table) refill(heap []*Row) {
	t.heap, t.live = heap, 0
	for _, ix := range t.indexes {
		ix.clear()
	}
	for _, r := range heap {
		if r != nil {
			t.live++
			for _, ix := range t.indexes {
				ix.add(r)
			}
		}
	}
}

// committed is what listeners are told of the transaction.
func (tx *Tx) committed(at time.Time) []Change {
	out := make([]Change, len(tx.changes))
	for i, c := range tx.changes {
		info := &c.table.info
		out[i] = Change{
			Schema: info.Schema, Table: info.Name, Commit: at, Columns: info.Columns, Key: info.Key,
			FullIdentity: info.FullIdentity, RLS: info.RLS, Published: info.Published,
		}
		switch {
		case c.truncated != nil:
			out[i].Type = Truncate
		case c.old == nil:
			out[i].Type = Insert
		case c.new == nil:
			out[i].Type = Delete
		default:
			out[i].Type = Update
		}
		if c.old != nil {
			out[i].Old = c.table.document(c.old.vals)
		}
		if c.new != nil {
			out[i].New = c.table.document(c.new.vals)
		}
	}
	return out
}

// store adds a row at the end of its table.
func (tx *Tx) store(t *table, vals []value) (*Row, error) {
	r := &Row{pos: len(t.heap), vals: vals}
	if err := tx.account(r.size()); err != nil {
		return nil, err
	}
	t.heap = append(t.heap, nil)
	t.put(r.pos, r)
	tx.changes = append(tx.changes, pending{table: t, new: r})
	return r, nil
}

// replace puts a new version of a row in its place.
func (tx *Tx) replace(t *table, old *Row, vals []value) (*Row, error) {
	r := &Row{pos: old.pos, vals: vals}
	if err := tx.account(r.size() - old.size()); err != nil {
		return nil, err
	}
	t.put(r.pos, r)
	tx.changes = append(tx.changes, pending{table: t, old: old, new: r})
	return r, nil
}

func (tx *Tx) remove(t *table, old *Row) {
	tx.db.bytes -= old.size()
	t.put(old.pos, nil)
	tx.changes = append(tx.changes, pending{table: t, old: old})
}

func (tx *Tx) account(delta int64) error {
	if delta > 0 && tx.db.bytes+delta > tx.db.limits.MaxBytes {
		return tx.db.full()
	}
	tx.db.bytes += delta
	return nil
}

func (db *DB) full() *Error {
	return &Error{
		Code:    "53100",
		Message: "the tables are full",
		Details: "They may take " + strconv.FormatInt(db.limits.MaxBytes, 10) + " bytes.",
	}
}

// Insert adds a row and returns it whole. Columns left out take their defaults. Values are nil,
// json.RawMessage, time.Time, a Go number, bool or string read as a Postgres literal; anything else
// goes by its JSON.
func (tx *Tx) Insert(table string, row map[string]any) (map[string]json.RawMessage, error) {
	t, err := tx.table(table)
	if err != nil {
		return nil, tx.fail(err)
	}
	set, err := t.assignments(row)
	if err != nil {
		return nil, tx.fail(err)
	}
	vals, err := t.newRow(set, tx.now)
	if err != nil {
		return nil, tx.fail(err)
	}
	res, err := tx.insert(t, [][]value{vals}, conflict{})
	if err != nil {
		return nil, err
	}
	return t.document(res.rows[0].vals), nil
}

// Update sets columns of every row whose columns equal where, and returns how many there were.
func (tx *Tx) Update(table string, where, set map[string]any) (int, error) {
	t, rows, err := tx.matching(table, where)
	if err != nil {
		return 0, tx.fail(err)
	}
	assign, err := t.assignments(set)
	if err != nil {
		return 0, tx.fail(err)
	}
	out, err := tx.update(t, rows, assign)
	return len(out), err
}

// Delete removes every row whose columns equal where, and returns how many there were, without
// those that foreign keys took along.
func (tx *Tx) Delete(table string, where map[string]any) (int, error) {
	t, rows, err := tx.matching(table, where)
	if err != nil {
		return 0, tx.fail(err)
	}
	if err := tx.delete(t, rows); err != nil {
		return 0, err
	}
	return len(rows), nil
}

// Select returns the rows whose columns equal where, in the order they were inserted.
func (tx *Tx) Select(table string, where map[string]any) ([]map[string]json.RawMessage, error) {
	t, rows, err := tx.matching(table, where)
	if err != nil {
		return nil, tx.fail(err)
	}
	out := make([]map[string]json.RawMessage, len(rows))
	for i, r := range rows {
		out[i] = t.document(r.vals)
	}
	return out, nil
}

// Truncate empties a table. It fails with code 0A000 if another table's foreign key refers to it.
func (tx *Tx) Truncate(table string) error {
	t, err := tx.table(table)
	if err != nil {
		return tx.fail(err)
	}
	for _, key := range t.referenced {
		if key.from != t {
			return tx.fail(&Error{Code: "0A000", Message: "cannot truncate a table referenced in a foreign key constraint",
				Details: fmt.Sprintf("Table %q references %q.", key.from.info.Name, t.info.Name)})
		}
	}
	heap := t.heap
	if heap == nil {
		heap = []*Row{}
	}
	for _, r := range t.rows() {
		tx.db.bytes -= r.size()
	}
	t.refill(nil)
	tx.changes = append(tx.changes, pending{table: t, truncated: heap})
	return nil
}

// fail remembers an error: the transaction can't commit after it.
func (tx *Tx) fail(err error) error {
	if err != nil && tx.failed == nil {
		tx.failed = err
	}
	return err
}

// table finds a table by name, unless the transaction has failed already: nothing more can be done
// in it then.
func (tx *Tx) table(name string) (*table, error) {
	if tx.failed != nil {
		return nil, &Error{Code: "25P02",
			Message: "current transaction is aborted, commands ignored until end of transaction block"}
	}
	return tx.db.lookup(name)
}

// lookup finds a table by name, "messages" in the default schema or "schema.table".
func (db *DB) lookup(name string) (*table, error) {
	if t, ok := db.tables[tableName{db.schemas[0], name}]; ok {
		return t, nil
	}
	if schema, rest, ok := strings.Cut(name, "."); ok {
		if t, ok := db.tables[tableName{schema, rest}]; ok {
			return t, nil
		}
	}
	return nil, &Error{Code: "42P01", Message: fmt.Sprintf("relation %q does not exist", name)}
}

// assignments reads the values a Go caller gives for columns.
func (t *table) assignments(row map[string]any) (map[int]value, error) {
	set := make(map[int]value, len(row))
	for name, v := range row {
		c, ok := t.byName[name]
		if !ok {
			return nil, t.unknownColumn(name)
		}
		read, err := t.columns[c].typ.fromGo(v)
		if err != nil {
			return nil, err
		}
		set[c] = read
	}
	return set, nil
}

// unknownColumn is the error for a column that doesn't exist, with the one that may have been
// meant.
func (t *table) unknownColumn(name string) *Error {
	e := &Error{Code: "42703", Message: "column " + t.info.Name + "." + name + " does not exist"}
	best := min(3, len(name)/2) + 1
	for i := range t.columns {
		if d := editDistance(name, t.columns[i].name); d < best {
			best, e.Hint = d, `Perhaps you meant to reference the column "`+t.info.Name+"."+t.columns[i].name+`".`
		}
	}
	return e
}

func (t *Type) fromGo(v any) (value, error) {
	switch v := v.(type) {
	case nil:
		return null, nil
	case string:
		return t.parse(v)
	case json.RawMessage:
		return t.parseJSON(v)
	case time.Time:
		return t.parse(v.UTC().Format("2006-01-02T15:04:05.999999Z"))
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return null, fmt.Errorf("standin: a value of type %T as %s: %w", v, t.name, err)
	}
	return t.parseJSON(raw)
}

// newRow completes a row to insert with the defaults of the columns it leaves out.
func (t *table) newRow(set map[int]value, now time.Time) ([]value, error) {
	vals := make([]value, len(t.columns))
	for c := range t.columns {
		v, ok := set[c]
		if !ok {
			var err error
			if v, err = t.defaultFor(c, now); err != nil {
				return nil, err
			}
		}
		vals[c] = v
	}
	return vals, nil
}

// matching finds the rows whose columns equal where.
func (tx *Tx) matching(name string, where map[string]any) (*table, []*Row, error) {
	t, err := tx.table(name)
	if err != nil {
		return nil, nil, err
	}
	want, err := t.assignments(where)
	if err != nil {
		return nil, nil, err
	}
	equal := func(r *Row) bool {
		for c, v := range want {
			have := r.vals[c]
			if have.null || v.null {
				if have.null != v.null {
					return false
				}
			} else if t.columns[c].typ.compare(have, v) != 0 {
				return false
			}
		}
		return true
	}
	candidates := t.rowsWith(func(c int) ([]value, bool) {
		v, ok := want[c]
		return []value{v}, ok && !v.null
	})
	var out []*Row
	for _, r := range candidates {
		if equal(r) {
			out = append(out, r)
		}
	}
	return t, out, nil
}

// rowsWith narrows the rows down by an index whose every column is known to have one of a few
// values, which known gives. Without such an index it is all rows. Rows come in the order of the
// table.
func (t *table) rowsWith(known func(c int) ([]value, bool)) []*Row {
	var best *index
	for _, ix := range t.indexes {
		usable := true
		for _, c := range ix.columns {
			vs, ok := known(c)
			usable = usable && ok && (len(ix.columns) == 1 || len(vs) == 1)
		}
		if usable && (best == nil || ix.unique && !best.unique) {
			best = ix
		}
	}
	if best == nil {
		return t.rows()
	}
	lead, _ := known(best.columns[0])
	if len(best.columns) > 1 {
		key, ok := best.key(func(i int) value { vs, _ := known(best.columns[i]); return vs[0] })
		if !ok {
			return nil
		}
		return best.find(key)
	}
	seen := map[*Row]bool{}
	var out []*Row
	for _, v := range lead {
		if v.null {
			continue
		}
		for _, r := range best.find(best.types[0].indexKey(v)) {
			if !seen[r] {
				seen[r] = true
				out = append(out, r)
			}
		}
	}
	if len(lead) > 1 {
		slices.SortFunc(out, byPosition)
	}
	return out
}
