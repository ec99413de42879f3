package sql

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Options say what a DB is made of beside its tables.
type Options struct {
	// Schemas are the exposed schemas; the first is the default. Nil is public alone.
	Schemas []string
	// Limits bound what the tables hold.
	Limits Limits
	// Now is the clock. Nil is time.Now.
	Now func() time.Time
}

// New makes tables and fills them. Errors name the line of the definition that is at fault.
func New(tables []TableDef, opts Options) (*DB, error) {
	if opts.Limits.MaxBytes == 0 {
		opts.Limits.MaxBytes = defaultMaxBytes
	}
	if opts.Schemas == nil {
		opts.Schemas = []string{"public"}
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	db := &DB{limits: opts.Limits, now: opts.Now, schemas: opts.Schemas, tables: map[tableName]*table{}}
	made := make([]*table, len(tables))
	for i := range tables {
		t, err := buildTable(&tables[i])
		if err == nil && db.tables[tables[i].name()] != nil {
			err = errors.New("the table is there twice")
		}
		if err != nil {
			return nil, tables[i].wrap(tables[i].Line, err)
		}
		t.ordinal = i
		made[i], db.tables[tables[i].name()] = t, t
	}
	for i := range tables { // keys may refer to tables further down
		if err := db.connect(made[i], &tables[i]); err != nil {
			return nil, err
		}
	}
	for i := range tables { // rules go along the keys
		for _, r := range tables[i].Rules {
			if err := made[i].addRule(r); err != nil {
				return nil, tables[i].wrap(r.Line, err)
			}
		}
	}
	return db, db.Tx(func(tx *Tx) error {
		for i := range tables {
			if err := tx.fill(made[i], &tables[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *TableDef) name() tableName { return tableName{s.Schema, s.Name} }

func (s *TableDef) wrap(line int, err error) error {
	return fmt.Errorf("line %d: table %s: %w", line, s.Name, err)
}

func buildTable(s *TableDef) (*table, error) {
	t := &table{byName: map[string]int{}, broadcast: s.Broadcast}
	t.info = TableInfo{Schema: s.Schema, Name: s.Name, Key: s.Key,
		FullIdentity: s.FullIdentity, RLS: s.RLS, Published: s.Published}
	if len(s.Columns) == 0 {
		return nil, errors.New("it has no columns")
	}
	for _, sc := range s.Columns {
		c := column{name: sc.Name, typ: sc.Type, notNull: sc.NotNull, onUpdate: sc.OnUpdate}
		var err error
		if c.def, err = sc.defaultValue(); err != nil {
			return nil, fmt.Errorf("column %s: %w", sc.Name, err)
		}
		t.byName[c.name] = len(t.columns)
		t.columns = append(t.columns, c)
		t.info.Columns = append(t.info.Columns, Column{Name: c.name, Type: c.typ.name})
	}
	if err := t.grant(s.Granted); err != nil {
		return nil, err
	}
	if len(s.Key) > 0 {
		columns, err := t.resolve(s.Key)
		if err != nil {
			return nil, err
		}
		t.key = columns
		for _, c := range columns {
			t.columns[c].notNull = true
		}
		t.indexes = append(t.indexes, newIndex(s.Name+"_pkey", t, columns, true))
	}
	for _, names := range s.Unique {
		columns, err := t.resolve(names)
		if err != nil {
			return nil, err
		}
		t.indexes = append(t.indexes, newIndex(s.Name+"_"+strings.Join(names, "_")+"_key", t, columns, true))
	}
	for _, names := range s.Indexes {
		columns, err := t.resolve(names)
		if err != nil {
			return nil, err
		}
		t.indexes = append(t.indexes, newIndex(s.Name+"_"+strings.Join(names, "_")+"_idx", t, columns, false))
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

func (s *ColumnDef) defaultValue() (defaultValue, error) {
	timed := s.Type.kind == kindTimestamptz || s.Type.kind == kindTimestamp ||
		s.Type.kind == kindDate || s.Type.kind == kindTime
	switch {
	case s.OnUpdate && !timed:
		return defaultValue{}, errors.New("on_update is for times")
	case s.Identity && s.HasDefault:
		return defaultValue{}, errors.New("an identity column has no other default")
	case s.Identity && s.Type.kind != kindInt:
		return defaultValue{}, errors.New("an identity column is an integer")
	case s.Identity:
		return defaultValue{how: defaultSequence}, nil
	case !s.HasDefault:
		return defaultValue{}, nil
	case s.Default == "gen_random_uuid()" && (s.Type.kind == kindUUID || s.Type.kind == kindText):
		return defaultValue{how: defaultUUID}, nil
	case s.Default == "now()" && timed:
		return defaultValue{how: defaultNow}, nil
	}
	v, err := s.Type.parse(s.Default)
	return defaultValue{how: defaultLiteral, literal: v}, err
}

// connect adds the foreign keys of a table, each with an index to find the rows that refer to
// another.
func (db *DB) connect(t *table, s *TableDef) error {
	for _, sf := range s.Foreign {
		columns, err := t.resolve(sf.Columns)
		if err != nil {
			return s.wrap(sf.Line, err)
		}
		to, err := db.lookup(sf.References)
		if err != nil {
			return s.wrap(sf.Line, fmt.Errorf("there is no table %q", sf.References))
		}
		refs := to.key
		if sf.To != nil {
			if refs, err = to.resolve(sf.To); err != nil {
				return s.wrap(sf.Line, err)
			}
		}
		i := slices.IndexFunc(to.indexes, func(ix *index) bool { return ix.unique && slices.Equal(ix.columns, refs) })
		if i < 0 || len(refs) != len(columns) {
			return s.wrap(sf.Line,
				fmt.Errorf("the columns it refers to are no unique key of %s of the same number", sf.References))
		}
		for k := range columns {
			if t.columns[columns[k]].typ.name != to.columns[refs[k]].typ.name {
				return s.wrap(sf.Line, fmt.Errorf("%s and the column it refers to differ in type", sf.Columns[k]))
			}
		}
		key := foreignKey{
			name: s.Name + "_" + strings.Join(sf.Columns, "_") + "_fkey",
			from: t, columns: columns, to: to, refs: to.indexes[i], onDelete: sf.OnDelete,
		}
		t.foreign, to.referenced = append(t.foreign, key), append(to.referenced, key)
		if !slices.ContainsFunc(t.indexes, func(ix *index) bool { return slices.Equal(ix.columns, columns) }) {
			t.indexes = append(t.indexes, newIndex(s.Name+"_"+strings.Join(sf.Columns, "_")+"_idx", t, columns, false))
		}
	}
	return nil
}

func (t *table) addRule(s RuleDef) error {
	r := rule{operations: s.Operations, roles: s.Roles, everything: s.Everything, claim: s.Claim}
	if s.Everything {
		t.rules = append(t.rules, r)
		return nil
	}
	last := t
	for _, name := range s.Through {
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
	c, ok := last.byName[s.Column]
	if !ok {
		return fmt.Errorf("a rule names the column %s.%s, which there isn't", last.info.Name, s.Column)
	}
	r.column, r.typ = c, last.columns[c].typ
	t.rules = append(t.rules, r)
	return nil
}

// fill inserts the seed's rows of a table.
func (tx *Tx) fill(t *table, s *TableDef) error {
	for _, sr := range s.Rows {
		row := make(map[string]any, len(sr.Values))
		for name, v := range sr.Values {
			c, ok := t.byName[name]
			if !ok {
				return s.wrap(sr.Line, fmt.Errorf("there is no column %q", name))
			}
			var err error
			if row[name], err = t.columns[c].typ.literal(v, tx.now); err != nil {
				return s.wrap(sr.Line, err)
			}
		}
		set, err := t.assignments(row)
		if err != nil {
			return s.wrap(sr.Line, err)
		}
		vals, err := t.newRow(set, tx.now)
		if err != nil {
			return s.wrap(sr.Line, err)
		}
		if _, err := tx.insert(t, [][]value{vals}, conflict{}); err != nil {
			return s.wrap(sr.Line, err)
		}
	}
	return nil
}

// literal reads a seed row's value; times may be given as now() or now() - 1h30m.
func (t *Type) literal(v any, now time.Time) (any, error) {
	text, ok := v.(string)
	if !ok {
		return v, nil
	}
	rest, ok := strings.CutPrefix(text, "now()")
	if !ok || (t.kind != kindTimestamptz && t.kind != kindTimestamp && t.kind != kindDate) {
		return v, nil
	}
	if rest = strings.ReplaceAll(rest, " ", ""); rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil {
			return nil, fmt.Errorf("%q is no time: %w", text, err)
		}
		now = now.Add(d)
	}
	return now, nil
}
