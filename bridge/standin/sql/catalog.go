package sql

import "slices"

// Description is what the catalog says of a table. It is immutable.
type Description struct {
	TableInfo
	// Details are those of the columns of the same places.
	Details     []ColumnDetails
	Indexes     []IndexInfo
	ForeignKeys []ForeignKeyInfo
	// Broadcast is the topic of the table's trigger; empty without one.
	Broadcast string
}

// ColumnDetails is what the catalog says of a column beside its name and type.
type ColumnDetails struct {
	SQLType  string // "bigint" for int8
	JSONType string // how JSON has the type's values; "" for any
	NotNull  bool
	OnUpdate bool // a trigger sets it with each update
}

// IndexInfo is an index.
type IndexInfo struct {
	Unique  bool
	Columns []string
}

// ForeignKeyInfo is a foreign key. References are columns of Table.
type ForeignKeyInfo struct {
	Columns    []string
	Table      string
	References []string
}

// Schemas are the exposed schemas; the first is the default.
func (db *DB) Schemas() []string { return slices.Clone(db.schemas) }

// Describe gives what the catalog says of a table; ok is false if there is none of that name.
func (db *DB) Describe(schema, name string) (d Description, ok bool) {
	info, ok := db.Table(schema, name)
	if !ok {
		return d, false
	}
	t := db.tables[tableName{schema, name}]
	d = Description{TableInfo: info, Broadcast: t.broadcast}
	for i := range t.columns {
		c := &t.columns[i]
		details := ColumnDetails{SQLType: c.typ.name, JSONType: jsonType(c.typ), NotNull: c.notNull, OnUpdate: c.onUpdate}
		if long, ok := longNames[c.typ.name]; ok {
			details.SQLType = long
		}
		d.Details = append(d.Details, details)
	}
	for _, ix := range t.indexes {
		d.Indexes = append(d.Indexes, IndexInfo{Unique: ix.unique, Columns: t.names(ix.columns)})
	}
	for _, f := range t.foreign {
		d.ForeignKeys = append(d.ForeignKeys, ForeignKeyInfo{
			Columns: t.names(f.columns), Table: f.to.info.Name, References: f.to.names(f.refs.columns),
		})
	}
	return d, true
}

func (t *table) names(columns []int) []string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = t.columns[c].name
	}
	return names
}

// Readable are the columns of a table that a role may read; restricted is whether there are others.
func (db *DB) Readable(role, schema, name string) (columns []Column, restricted bool) {
	t, ok := db.tables[tableName{schema, name}]
	if !ok {
		return nil, false
	}
	return t.readable(role)
}

// Text is the text of one column of the row with a key, in a table with a primary key of one
// column. It is empty for NULL. A table's name is "messages" in the default schema, or
// "schema.table".
func (db *DB) Text(table, key, column string) (text string, ok bool) {
	t, err := db.lookup(table)
	if err != nil || key == "" || len(t.key) != 1 {
		return "", false
	}
	label, ok := t.byName[column]
	v, err := t.columns[t.key[0]].typ.parse(key)
	if err != nil || !ok {
		return "", false
	}
	db.mu.RLock()
	defer db.mu.RUnlock()
	r := t.primary().one[t.columns[t.key[0]].typ.indexKey(v)]
	if r == nil {
		return "", false
	}
	return r.vals[label].text, true
}

// Similar is the table of a schema whose name is most like one that isn't there; empty if none is
// like it.
func (db *DB) Similar(schema, name string) (similar string) {
	best := len(name)/2 + 1
	for _, info := range db.Tables() {
		if d := editDistance(name, info.Name); info.Schema == schema && d < best {
			best = d
			similar = info.Name
		}
	}
	return similar
}

// editDistance is how many bytes must be put in, taken out or changed to make b of a. Long names
// aren't compared.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	line := make([]int, len(b)+1)
	for j := range line {
		line[j] = j
	}
	for i := range len(a) {
		diagonal := line[0]
		line[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = line[j+1]
			line[j+1] = min(cost, line[j]+1, diagonal+1)
		}
	}
	return line[len(b)]
}

// jsonType is how JSON has a type's values; "" for any.
func jsonType(t *Type) string {
	switch t.kind {
	case kindInt:
		return "integer"
	case kindFloat, kindNumeric:
		return "number"
	case kindBool:
		return "boolean"
	case kindArray:
		return "array"
	case kindJSON, kindJSONB:
		return ""
	}
	return "string"
}
