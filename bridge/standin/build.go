package standin

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// newDB makes the tables of a seed and fills them. Errors name the line of the seed.
func newDB(seed *Seed, limits Limits, now func() time.Time) (*DB, error) {
	if limits.MaxBytes == 0 {
		limits.MaxBytes = defaultMaxBytes
	}
	db := &DB{limits: limits, now: now, schemas: seed.schemas, tables: map[tableName]*table{}}
	made := make([]*table, len(seed.tables))
	for i := range seed.tables {
		t, err := buildTable(&seed.tables[i])
		if err == nil && db.tables[seed.tables[i].name] != nil {
			err = errors.New("the table is there twice")
		}
		if err != nil {
			return nil, seed.tables[i].wrap(seed.tables[i].line, err)
		}
		t.ordinal = i
		made[i], db.tables[seed.tables[i].name] = t, t
	}
	for i := range seed.tables { // keys may refer to tables further down
		if err := db.connect(made[i], &seed.tables[i]); err != nil {
			return nil, err
		}
	}
	for i := range seed.tables { // rules go along the keys
		for _, r := range seed.tables[i].rules {
			if err := made[i].addRule(r); err != nil {
				return nil, seed.tables[i].wrap(r.line, err)
			}
		}
	}
	return db, db.Tx(func(tx *Tx) error {
		for i := range seed.tables {
			if err := tx.fill(made[i], &seed.tables[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *seedTable) wrap(line int, err error) error {
	return fmt.Errorf("standin: the seed: line %d: table %s: %w", line, s.name.name, err)
}

func buildTable(s *seedTable) (*table, error) {
	t := &table{byName: map[string]int{}, broadcast: s.broadcast}
	t.info = TableInfo{Schema: s.name.schema, Name: s.name.name, Key: s.key, FullIdentity: s.full, RLS: s.rls, Published: s.published}
	if len(s.columns) == 0 {
		return nil, errors.New("it has no columns")
	}
	for _, sc := range s.columns {
		c := column{name: sc.name, typ: sc.typ, notNull: sc.notNull, onUpdate: sc.onUpdate}
		var err error
		if c.def, err = sc.defaultValue(); err != nil {
			return nil, fmt.Errorf("column %s: %w", sc.name, err)
		}
		t.byName[c.name] = len(t.columns)
		t.columns = append(t.columns, c)
		t.info.Columns = append(t.info.Columns, Column{Name: c.name, Type: c.typ.name})
	}
	if err := t.grant(s.granted); err != nil {
		return nil, err
	}
	if len(s.key) > 0 {
		columns, err := t.resolve(s.key)
		if err != nil {
			return nil, err
		}
		t.key = columns
		for _, c := range columns {
			t.columns[c].notNull = true
		}
		t.indexes = append(t.indexes, newIndex(s.name.name+"_pkey", t, columns, true))
	}
	for _, names := range s.unique {
		columns, err := t.resolve(names)
		if err != nil {
			return nil, err
		}
		t.indexes = append(t.indexes, newIndex(s.name.name+"_"+strings.Join(names, "_")+"_key", t, columns, true))
	}
	for _, names := range s.indexes {
		columns, err := t.resolve(names)
		if err != nil {
			return nil, err
		}
		t.indexes = append(t.indexes, newIndex(s.name.name+"_"+strings.Join(names, "_")+"_idx", t, columns, false))
	}
	return t, nil
}

func (t *table) resolve(names []string) ([]int, error) {
	if len(names) == 0 {
		return nil, errors.New("a list of columns is empty")
	}
	columns := make([]int, len(names))
	for i, name := range names {
		c, ok := t.byName[name]
		if !ok {
			return nil, fmt.Errorf("there is no column %q", name)
		}
		if slices.Contains(columns[:i], c) {
			return nil, fmt.Errorf("the column %q is listed twice", name)
		}
		columns[i] = c
	}
	return columns, nil
}

func (s *seedColumn) defaultValue() (defaultValue, error) {
	timed := s.typ.kind == kindTimestamptz || s.typ.kind == kindTimestamp || s.typ.kind == kindDate || s.typ.kind == kindTime
	switch {
	case s.onUpdate && !timed:
		return defaultValue{}, errors.New("on_update is for times")
	case s.identity && s.hasDef:
		return defaultValue{}, errors.New("an identity column has no other default")
	case s.identity && s.typ.kind != kindInt:
		return defaultValue{}, errors.New("an identity column is an integer")
	case s.identity:
		return defaultValue{how: defaultSequence}, nil
	case !s.hasDef:
		return defaultValue{}, nil
	case s.def == "gen_random_uuid()" && (s.typ.kind == kindUUID || s.typ.kind == kindText):
		return defaultValue{how: defaultUUID}, nil
	case s.def == "now()" && timed:
		return defaultValue{how: defaultNow}, nil
	}
	v, err := s.typ.parse(s.def)
	return defaultValue{how: defaultLiteral, literal: v}, err
}

// connect adds the foreign keys of a table, each with an index to find the rows that refer to another.
func (db *DB) connect(t *table, s *seedTable) error {
	for _, sf := range s.foreign {
		columns, err := t.resolve(sf.columns)
		if err != nil {
			return s.wrap(sf.line, err)
		}
		to, err := db.lookup(sf.references)
		if err != nil {
			return s.wrap(sf.line, fmt.Errorf("there is no table %q", sf.references))
		}
		refs := to.key
		if sf.to != nil {
			if refs, err = to.resolve(sf.to); err != nil {
				return s.wrap(sf.line, err)
			}
		}
		i := slices.IndexFunc(to.indexes, func(ix *index) bool { return ix.unique && slices.Equal(ix.columns, refs) })
		if i < 0 || len(refs) != len(columns) {
			return s.wrap(sf.line, fmt.Errorf("the columns it refers to are no unique key of %s of the same number", sf.references))
		}
		for k := range columns {
			if t.columns[columns[k]].typ.name != to.columns[refs[k]].typ.name {
				return s.wrap(sf.line, fmt.Errorf("%s and the column it refers to differ in type", sf.columns[k]))
			}
		}
		key := foreignKey{
			name: s.name.name + "_" + strings.Join(sf.columns, "_") + "_fkey",
			from: t, columns: columns, to: to, refs: to.indexes[i], onDelete: sf.onDelete,
		}
		t.foreign, to.referenced = append(t.foreign, key), append(to.referenced, key)
		if !slices.ContainsFunc(t.indexes, func(ix *index) bool { return slices.Equal(ix.columns, columns) }) {
			t.indexes = append(t.indexes, newIndex(s.name.name+"_"+strings.Join(sf.columns, "_")+"_idx", t, columns, false))
		}
	}
	return nil
}

func (t *table) addRule(s seedRule) error {
	r := rule{operations: s.operations, roles: s.roles, everything: s.everything, claim: s.claim}
	if s.everything {
		t.rules = append(t.rules, r)
		return nil
	}
	last := t
	for _, name := range s.through {
		i := slices.IndexFunc(last.foreign, func(f foreignKey) bool {
			return len(f.columns) == 1 && last.columns[f.columns[0]].name == name
		})
		if i < 0 {
			return fmt.Errorf("through: %s.%s is no foreign key of one column", last.info.Name, name)
		}
		f := last.foreign[i]
		r.hops = append(r.hops, hop{column: f.columns[0], typ: last.columns[f.columns[0]].typ, to: f.to, refs: f.refs})
		last = f.to
	}
	c, ok := last.byName[s.column]
	if !ok {
		return fmt.Errorf("a rule names the column %s.%s, which there isn't", last.info.Name, s.column)
	}
	r.column, r.typ = c, last.columns[c].typ
	t.rules = append(t.rules, r)
	return nil
}

// fill inserts the seed's rows of a table.
func (tx *Tx) fill(t *table, s *seedTable) error {
	for _, sr := range s.rows {
		row := make(map[string]any, len(sr.values))
		for name, v := range sr.values {
			c, ok := t.byName[name]
			if !ok {
				return s.wrap(sr.line, fmt.Errorf("there is no column %q", name))
			}
			var err error
			if row[name], err = t.columns[c].typ.literal(v, tx.now); err != nil {
				return s.wrap(sr.line, err)
			}
		}
		set, err := t.assignments(row)
		if err != nil {
			return s.wrap(sr.line, err)
		}
		vals, err := t.newRow(set, tx.now)
		if err != nil {
			return s.wrap(sr.line, err)
		}
		if _, err := tx.insert(t, [][]value{vals}, conflict{}); err != nil {
			return s.wrap(sr.line, err)
		}
	}
	return nil
}
