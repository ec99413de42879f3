package sql

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Relation is a table as the bearer of a token uses it: row security and grants hold for their
// role. A statement on it is one transaction. It is immutable and safe for any number of
// goroutines.
type Relation struct {
	db     *DB
	table  *table
	claims Claims
}

// Relation finds a table for a bearer; ok is false if there is none of that name.
func (db *DB) Relation(c Claims, schema, name string) (r *Relation, ok bool) {
	t, ok := db.tables[tableName{schema, name}]
	if !ok {
		return nil, false
	}
	return &Relation{db, t, c}, true
}

// Name is the table's name without its schema.
func (r *Relation) Name() string { return r.table.info.Name }

// HasColumn reports whether the table has a column.
func (r *Relation) HasColumn(name string) bool { _, ok := r.table.byName[name]; return ok }

// Expression binds a field. It does not ask whether the bearer may read it.
func (r *Relation) Expression(f Field) (Expression, error) { return r.table.expression(f) }

// Everything is the projection on every column.
func (r *Relation) Everything() Projection { return r.table.everything() }

// MayRead refuses an expression of a column that the bearer may not read.
func (r *Relation) MayRead(e Expression) error {
	if !r.table.mayRead(r.claims.Role, e.column) {
		return r.table.denied()
	}
	return nil
}

// Filter binds a condition. It refuses one that compares columns that the bearer may not read.
func (r *Relation) Filter(c Condition) (Filter, error) {
	if err := r.table.mayTest(r.claims.Role, c); err != nil {
		return Filter{}, err
	}
	return r.table.bind(c)
}

// Key gives the columns of the primary key and their texts in a row.
func (r *Relation) Key(row *Row) (columns, texts []string) {
	for _, c := range r.table.key {
		columns, texts = append(columns, r.table.columns[c].name), append(texts, row.vals[c].text)
	}
	return columns, texts
}

// Select gives the rows that the filter and row security let through, in the order of the table.
func (r *Relation) Select(filter Filter) []*Row {
	r.db.mu.RLock()
	defer r.db.mu.RUnlock()
	return r.matching(filter, ForSelect)
}

// matching gives the rows that the filter and the rules for the given operations let through. Call
// with DB.mu held.
func (r *Relation) matching(filter Filter, operations ...Operation) []*Row {
	policies := make([]policy, len(operations))
	for i, op := range operations {
		policies[i] = r.table.policyFor(&r.claims, op)
	}
	var out []*Row
	known := func(column int) ([]value, bool) { vs, ok := filter.known[column]; return vs, ok }
	for _, row := range r.table.rowsWith(known) {
		refuses := func(p policy) bool { return !p.admitsRow(row.vals) }
		if filter.holds(row.vals) == isTrue && !slices.ContainsFunc(policies, refuses) {
			out = append(out, row)
		}
	}
	return out
}

// Assignment is values for columns of a table.
type Assignment struct{ set map[int]value }

// Assign reads the values of columns from an object. A column that the object lacks becomes NULL.
func (r *Relation) Assign(columns []string, object map[string]json.RawMessage) (Assignment, error) {
	set := make(map[int]value, len(columns))
	for _, name := range columns {
		column := r.table.byName[name]
		v, err := r.table.columns[column].typ.parseJSON(object[name])
		if err != nil {
			return Assignment{}, err
		}
		set[column] = v
	}
	return Assignment{set}, nil
}

// Propose reads rows to insert: the values of columns from objects. A column that an object lacks
// becomes NULL, or its default if missingDefault is set. What together is larger than the tables
// may be is refused.
func (r *Relation) Propose(
	columns []string, objects []map[string]json.RawMessage, missingDefault bool,
) ([]Assignment, error) {
	sets := make([]Assignment, len(objects))
	size := int64(0)
	for i, object := range objects {
		sets[i].set = make(map[int]value, len(columns))
		for _, name := range columns {
			raw, ok := object[name]
			if !ok && missingDefault {
				continue
			}
			column := r.table.byName[name]
			v, err := r.table.columns[column].typ.parseJSON(raw)
			if err != nil {
				return nil, err
			}
			if size += int64(len(v.text)); size > r.db.limits.MaxBytes {
				return nil, r.db.full()
			}
			sets[i].set[column] = v
		}
	}
	return sets, nil
}

// Conflict is what an insert does about a row that is there already. The zero Conflict fails.
type Conflict struct{ conflict }

// Merges reports whether the row that is there takes over the new one's values.
func (c Conflict) Merges() bool { return c.how == conflictMerges }

// Conflict makes ON CONFLICT on the columns of target, or on the primary key if there are none: DO
// NOTHING if ignore is set, else DO UPDATE of the given columns. Without a primary key to conflict
// on an insert fails.
func (r *Relation) Conflict(target []string, ignore bool, columns []string) (Conflict, error) {
	on := conflict{how: conflictMerges, on: r.table.primary()}
	for _, name := range columns {
		on.set = append(on.set, r.table.byName[name])
	}
	if ignore {
		on.how = conflictIgnored
	}
	if len(target) > 0 {
		places := make([]int, len(target))
		for i, name := range target {
			column, ok := r.table.byName[name]
			if !ok {
				return Conflict{}, &Error{Code: "42703", Message: fmt.Sprintf("column %q does not exist", name)}
			}
			places[i] = column
		}
		if on.on = r.table.uniqueOn(places); on.on == nil {
			return Conflict{}, &Error{Code: "42P10",
				Message: "there is no unique or exclusion constraint matching the ON CONFLICT specification"}
		}
	}
	if on.on == nil {
		return Conflict{}, nil // no key to conflict on
	}
	return Conflict{on}, nil
}

// Insert is INSERT. returning is whether the rows are shown to the bearer, who must be allowed to
// read them then. done is called with the rows in the end, without those ignored, and with how many
// of them are new; it runs before the transaction commits, and its error takes everything back. It
// must be short and must not use the DB.
func (r *Relation) Insert(
	sets []Assignment, on Conflict, returning bool, done func(rows []*Row, fresh int) error,
) error {
	return r.db.transact(&r.claims, func(tx *Tx) error {
		rows := make([][]value, len(sets))
		for i, a := range sets {
			var err error
			if rows[i], err = r.table.newRow(a.set, tx.now); err != nil {
				return err
			}
		}
		res, err := tx.insert(r.table, rows, on.conflict)
		if err != nil {
			return err
		}
		if returning && !r.sees(res.rows) {
			return r.table.rowRefused("")
		}
		return done(res.rows, res.fresh)
	})
}

// sees reports whether the bearer may read all of the rows: RETURNING needs that.
func (r *Relation) sees(rows []*Row) bool {
	sees := r.table.policyFor(&r.claims, ForSelect)
	return !slices.ContainsFunc(rows, func(row *Row) bool { return !sees.admitsRow(row.vals) })
}

// Update is UPDATE. done is called with the rows as they are then, as by Insert. An update that
// assigns nothing changes nothing.
func (r *Relation) Update(filter Filter, set Assignment, done func(rows []*Row) error) error {
	return r.db.transact(&r.claims, func(tx *Tx) error {
		if len(set.set) == 0 {
			return done(nil)
		}
		rows, err := tx.update(r.table, r.matching(filter, ForSelect, ForUpdate), set.set)
		if err != nil {
			return err
		}
		return done(rows)
	})
}

// Delete is DELETE. done is called with the rows that are gone, as by Insert.
func (r *Relation) Delete(filter Filter, done func(rows []*Row) error) error {
	return r.db.transact(&r.claims, func(tx *Tx) error {
		rows := r.matching(filter, ForSelect, ForDelete)
		if err := tx.delete(r.table, rows); err != nil {
			return err
		}
		return done(rows)
	})
}
