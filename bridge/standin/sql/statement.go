package sql

import (
	"fmt"
	"slices"
	"strings"
)

// conflict is what an insert does about a row that is there already.
type conflict struct {
	how conflictAction
	on  *index
	set []int // columns to take over from the new row
}

type conflictAction uint8

const (
	conflictFails conflictAction = iota
	conflictIgnored
	conflictMerges
)

// inserted is what an insert did: the rows in the end, those ignored left out, and how many are
// new.
type inserted struct {
	rows  []*Row
	fresh int
}

// insert is one INSERT statement. An error fails the transaction.
func (tx *Tx) insert(t *table, rows [][]value, on conflict) (inserted, error) {
	var res inserted
	may := t.policyFor(tx.claims, ForInsert)
	w := tx.writer(t)
	merged := map[*Row]bool{}
	for _, vals := range rows {
		if !may.admitsRow(vals) {
			return res, tx.fail(t.rowRefused(""))
		}
		if err := t.checkNotNull(vals); err != nil {
			return res, tx.fail(err)
		}
		if on.how != conflictFails {
			if key, ok := on.on.keyOf(vals); ok && on.on.one[key] != nil {
				if on.how == conflictIgnored {
					continue
				}
				old := on.on.one[key]
				if merged[old] {
					return res, tx.fail(&Error{Code: "21000", Message: "ON CONFLICT DO UPDATE command cannot affect row a second time",
						Hint: "Ensure that no rows proposed for insertion within the same command have duplicate constrained values."})
				}
				r, err := w.merge(old, vals, on.set)
				if err != nil {
					return res, tx.fail(err)
				}
				merged[r] = true
				res.rows = append(res.rows, r)
				continue
			}
		}
		if err := t.checkUnique(vals, nil); err != nil {
			return res, tx.fail(err)
		}
		r, err := tx.store(t, vals)
		if err != nil {
			return res, tx.fail(err)
		}
		merged[r] = true
		res.rows, res.fresh = append(res.rows, r), res.fresh+1
		tx.checkParents(t, nil, r)
	}
	return res, tx.fail(tx.endStatement())
}

// writer updates rows of one table for one statement: with the rules that hold for it, bound once.
type writer struct {
	tx       *Tx
	table    *table
	sees     policy // rows the bearer may read
	rewrites policy // rows the bearer may update, before and after
}

func (tx *Tx) writer(t *table) writer {
	return writer{tx, t, t.policyFor(tx.claims, ForSelect), t.policyFor(tx.claims, ForUpdate)}
}

// may tells whether the bearer may update a row of these values, and to these values.
func (w writer) may(vals []value) bool { return w.rewrites.admitsRow(vals) && w.sees.admitsRow(vals) }

// merge is ON CONFLICT DO UPDATE for one row.
func (w writer) merge(old *Row, proposed []value, set []int) (*Row, error) {
	if !w.may(old.vals) {
		return nil, w.table.rowRefused(" (USING expression)")
	}
	assign := make(map[int]value, len(set))
	for _, c := range set {
		assign[c] = proposed[c]
	}
	return w.update(old, assign)
}

// update is one UPDATE statement on rows already chosen. An error fails the transaction.
func (tx *Tx) update(t *table, rows []*Row, set map[int]value) ([]*Row, error) {
	if err := t.identifiable("update"); err != nil {
		return nil, tx.fail(err)
	}
	w := tx.writer(t)
	out := make([]*Row, 0, len(rows))
	for _, old := range rows {
		r, err := w.update(old, set)
		if err != nil {
			return nil, tx.fail(err)
		}
		out = append(out, r)
	}
	return out, tx.fail(tx.endStatement())
}

// update makes a new version of a row and puts down what to look at when the statement ends.
func (w writer) update(old *Row, set map[int]value) (*Row, error) {
	tx, t := w.tx, w.table
	vals := slices.Clone(old.vals)
	for c, v := range set {
		vals[c] = v
	}
	for c := range t.columns {
		if t.columns[c].onUpdate {
			vals[c] = t.columns[c].typ.at(tx.now)
		}
	}
	if !w.may(vals) {
		return nil, t.rowRefused("")
	}
	if err := t.checkNotNull(vals); err != nil {
		return nil, err
	}
	if err := t.checkUnique(vals, old); err != nil {
		return nil, err
	}
	r, err := tx.replace(t, old, vals)
	if err != nil {
		return nil, err
	}
	tx.checkParents(t, old, r)
	tx.checkChildren(t, old, r)
	return r, nil
}

// delete is one DELETE statement on rows already chosen. An error fails the transaction.
func (tx *Tx) delete(t *table, rows []*Row) error {
	if err := t.identifiable("delete from"); err != nil {
		return tx.fail(err)
	}
	for _, r := range rows {
		tx.remove(t, r)
		tx.checkChildren(t, r, nil)
	}
	return tx.fail(tx.endStatement())
}

// identifiable refuses to change rows that readers of the log could not tell from others.
func (t *table) identifiable(change string) error {
	if !t.info.Published || t.info.FullIdentity || len(t.key) > 0 {
		return nil
	}
	what, from, _ := strings.Cut(change, " ")
	doing := strings.TrimSpace(strings.TrimSuffix(what, "e") + "ing " + from)
	return &Error{
		Code: "55000",
		Message: fmt.Sprintf(
			"cannot %s table %q because it does not have a replica identity and publishes %ss",
			change,
			t.info.Name,
			what,
		),
		Hint: "To enable " + doing + " the table, set REPLICA IDENTITY using ALTER TABLE.",
	}
}

func (t *table) rowRefused(suffix string) *Error {
	return &Error{
		Code:    "42501",
		Message: fmt.Sprintf("new row violates row-level security policy%s for table %q", suffix, t.info.Name),
	}
}

func (t *table) checkNotNull(vals []value) error {
	for c := range t.columns {
		if t.columns[c].notNull && vals[c].null {
			return &Error{Code: "23502",
				Message: fmt.Sprintf(
					"null value in column %q of relation %q violates not-null constraint",
					t.columns[c].name,
					t.info.Name,
				),
				Details: "Failing row contains (" + t.tuple(vals) + ")."}
		}
	}
	return nil
}

// tuple writes a row's values as Postgres does in details, each cut to 64 bytes.
func (t *table) tuple(vals []value) string {
	texts := make([]string, len(vals))
	for i, v := range vals {
		switch {
		case v.null:
			texts[i] = "null"
		case len(v.text) > 64:
			texts[i] = v.text[:64] + "..."
		default:
			texts[i] = v.text
		}
	}
	return strings.Join(texts, ", ")
}

// checkUnique looks whether a row may take the place of old, which may be nil.
func (t *table) checkUnique(vals []value, old *Row) error {
	for _, ix := range t.indexes {
		if !ix.unique {
			continue
		}
		if key, ok := ix.keyOf(vals); ok {
			if r := ix.one[key]; r != nil && r != old {
				return &Error{Code: "23505", Message: fmt.Sprintf("duplicate key value violates unique constraint %q", ix.name),
					Details: t.describe(ix.columns, vals) + " already exists."}
			}
		}
	}
	return nil
}

// checkParents puts down the foreign keys of a new version of a row, where they differ from the old
// one's.
func (tx *Tx) checkParents(t *table, old, r *Row) {
	for _, key := range t.foreign {
		if old == nil || !equalOn(old.vals, r.vals, key.columns) {
			tx.checks = append(tx.checks, check{key: key, row: r})
		}
	}
}

// checkChildren puts down the foreign keys that refer to a row that is gone or whose key has
// changed.
func (tx *Tx) checkChildren(t *table, old, r *Row) {
	for _, key := range t.referenced {
		if r == nil || !equalOn(old.vals, r.vals, key.refs.columns) {
			tx.checks = append(tx.checks, check{key: key, gone: old, deleted: r == nil})
		}
	}
}

func equalOn(a, b []value, columns []int) bool {
	for _, c := range columns {
		if a[c].null != b[c].null || a[c].text != b[c].text {
			return false
		}
	}
	return true
}

// endStatement looks at the foreign keys that the statement touched. What they delete or update may
// touch others.
func (tx *Tx) endStatement() error {
	for len(tx.checks) > 0 {
		c := tx.checks[0]
		tx.checks = tx.checks[1:]
		var err error
		if c.gone != nil {
			err = tx.settleChildren(c)
		} else {
			err = checkParent(c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func checkParent(c check) error {
	from := c.key.from
	if from.heap[c.row.pos] != c.row {
		return nil // gone again, or replaced by a version with a check of its own
	}
	key, ok := c.key.parentKey(c.row.vals)
	if !ok || c.key.refs.one[key] != nil {
		return nil
	}
	return &Error{Code: "23503",
		Message: fmt.Sprintf("insert or update on table %q violates foreign key constraint %q", from.info.Name, c.key.name),
		Details: fmt.Sprintf("%s is not present in table %q.", from.describe(c.key.columns, c.row.vals), c.key.to.info.Name)}
}

// parentKey is the key under which the parent of a row is in the referenced table's index.
func (f foreignKey) parentKey(vals []value) (string, bool) {
	return f.refs.key(func(i int) value { return vals[f.columns[i]] })
}

// settleChildren does about the children of a row that is gone what their foreign key says.
func (tx *Tx) settleChildren(c check) error {
	key, ok := c.key.refs.keyOf(c.gone.vals)
	if !ok || c.key.refs.one[key] != nil {
		return nil // another row has taken the key
	}
	from := c.key.from
	children := from.rowsWith(func(column int) ([]value, bool) {
		i := slices.Index(c.key.columns, column)
		if i < 0 {
			return nil, false
		}
		return []value{c.gone.vals[c.key.refs.columns[i]]}, true
	})
	for _, child := range children {
		if k, ok := c.key.parentKey(child.vals); !ok || k != key {
			continue
		}
		switch {
		case c.deleted && c.key.onDelete == Cascade:
			tx.remove(from, child)
			tx.checkChildren(from, child, nil)
		case c.deleted && c.key.onDelete == SetNull:
			vals := slices.Clone(child.vals)
			for _, column := range c.key.columns {
				vals[column] = null
			}
			if err := from.checkNotNull(vals); err != nil {
				return err
			}
			r, err := tx.replace(from, child, vals)
			if err != nil {
				return err
			}
			tx.checkChildren(from, child, r)
		default:
			return &Error{Code: "23503",
				Message: fmt.Sprintf("update or delete on table %q violates foreign key constraint %q on table %q",
					c.key.to.info.Name, c.key.name, from.info.Name),
				Details: fmt.Sprintf(
					"%s is still referenced from table %q.",
					c.key.to.describe(c.key.refs.columns, c.gone.vals),
					from.info.Name,
				)}
		}
	}
	return nil
}
