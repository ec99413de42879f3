package sql

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// table is one table: what the seed says of it, immutable, and its rows, guarded by DB.mu.
type table struct {
	info       TableInfo
	ordinal    int              // place in the seed
	broadcast  string           // topic of its trigger's broadcasts; empty without
	granted    map[string][]int // the columns that a role may read; who isn't in it reads all
	columns    []column
	byName     map[string]int
	key        []int        // primary key; empty when there is none
	foreign    []foreignKey // from here
	referenced []foreignKey // to here
	rules      []rule

	// heap holds the rows in order of insertion; a deleted one leaves nil until the next compaction. A
	// row that is updated keeps its place.
	heap     []*Row
	live     int // rows in heap
	indexes  []*index
	sequence int64 // last value an identity column was given
}

// column is one column; immutable.
type column struct {
	name     string
	typ      *Type
	notNull  bool
	def      defaultValue
	onUpdate bool // set to the transaction's time by each update, as a trigger would
}

// defaultValue is what a column gets when an insert leaves it out.
type defaultValue struct {
	how     defaultKind
	literal value
}

type defaultKind uint8

const (
	defaultNull defaultKind = iota
	defaultLiteral
	defaultUUID
	defaultNow
	defaultSequence
)

// Row is one version of a row of a table. It is immutable but for its place. vals is never written
// to; pos is guarded by DB.mu.
type Row struct {
	pos  int
	vals []value
}

// size is the approximate memory a row takes.
func (r *Row) size() int64 {
	n := 64 + 40*len(r.vals)
	for i := range r.vals {
		n += len(r.vals[i].text)
	}
	return int64(n)
}

// foreignKey says that columns of a table name a row of another; immutable.
type foreignKey struct {
	name     string
	from     *table
	columns  []int
	to       *table
	refs     *index // unique, in to
	onDelete DeleteAction
}

// DeleteAction is what becomes of the rows that refer to one that is deleted.
type DeleteAction uint8

// What ON DELETE may say.
const (
	NoAction DeleteAction = iota
	Cascade
	SetNull
)

// index finds rows by the values of columns. A row with a null among them isn't in it. Guarded by
// DB.mu.
type index struct {
	name    string
	columns []int
	types   []*Type
	unique  bool
	one     map[string]*Row              // of a unique index
	many    map[string]map[*Row]struct{} // of another
}

func newIndex(name string, t *table, columns []int, unique bool) *index {
	ix := &index{name: name, columns: columns, unique: unique}
	for _, c := range columns {
		ix.types = append(ix.types, t.columns[c].typ)
	}
	ix.clear()
	return ix
}

func (ix *index) clear() {
	if ix.unique {
		ix.one = map[string]*Row{}
	} else {
		ix.many = map[string]map[*Row]struct{}{}
	}
}

// keyOf is the index' key for a row's values; ok is false if one is null.
func (ix *index) keyOf(vals []value) (key string, ok bool) {
	return ix.key(func(i int) value { return vals[ix.columns[i]] })
}

// key is the key for the values that at gives for each column of the index.
func (ix *index) key(at func(i int) value) (key string, ok bool) {
	if len(ix.columns) == 1 {
		v := at(0)
		return ix.types[0].indexKey(v), !v.null
	}
	var b strings.Builder
	for i, typ := range ix.types {
		v := at(i)
		if v.null {
			return "", false
		}
		k := typ.indexKey(v)
		b.WriteString(strconv.Itoa(len(k)))
		b.WriteByte(':')
		b.WriteString(k)
	}
	return b.String(), true
}

// find gives the rows of a key in the order of the table.
func (ix *index) find(key string) []*Row {
	if ix.unique {
		if r := ix.one[key]; r != nil {
			return []*Row{r}
		}
		return nil
	}
	rows := make([]*Row, 0, len(ix.many[key]))
	for r := range ix.many[key] {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, byPosition)
	return rows
}

func byPosition(a, b *Row) int { return cmp.Compare(a.pos, b.pos) }

func (ix *index) add(r *Row) {
	key, ok := ix.keyOf(r.vals)
	switch {
	case !ok:
	case ix.unique:
		ix.one[key] = r
	default:
		rows := ix.many[key]
		if rows == nil {
			rows = map[*Row]struct{}{}
			ix.many[key] = rows
		}
		rows[r] = struct{}{}
	}
}

func (ix *index) remove(r *Row) {
	key, ok := ix.keyOf(r.vals)
	switch {
	case !ok:
	case ix.unique:
		delete(ix.one, key)
	default:
		delete(ix.many[key], r)
		if len(ix.many[key]) == 0 {
			delete(ix.many, key)
		}
	}
}

// put places a row at its position, in place of the version there if any, or takes it away when r
// is nil.
func (t *table) put(pos int, r *Row) {
	if old := t.heap[pos]; old != nil {
		t.live--
		for _, ix := range t.indexes {
			ix.remove(old)
		}
	}
	t.heap[pos] = r
	if r != nil {
		t.live++
		for _, ix := range t.indexes {
			ix.add(r)
		}
	}
}

// compact closes the gaps that deleted rows left, once they are more than half.
func (t *table) compact() {
	if len(t.heap) < 64 || t.live > len(t.heap)/2 {
		return
	}
	kept := make([]*Row, 0, t.live)
	for _, r := range t.heap {
		if r != nil {
			r.pos = len(kept)
			kept = append(kept, r)
		}
	}
	t.heap = kept
}

// rows gives every row in order.
func (t *table) rows() []*Row {
	out := make([]*Row, 0, t.live)
	for _, r := range t.heap {
		if r != nil {
			out = append(out, r)
		}
	}
	return out
}

// uniqueOn finds the unique index on exactly these columns, in any order.
func (t *table) uniqueOn(columns []int) *index {
	want := slices.Sorted(slices.Values(columns))
	for _, ix := range t.indexes {
		if ix.unique && slices.Equal(want, slices.Sorted(slices.Values(ix.columns))) {
			return ix
		}
	}
	return nil
}

// primary is the index of the primary key, nil if there is none.
func (t *table) primary() *index {
	if len(t.key) == 0 {
		return nil
	}
	return t.uniqueOn(t.key)
}

// defaultFor is the value of a column left out by an insert.
func (t *table) defaultFor(c int, now time.Time) (value, error) {
	col := &t.columns[c]
	switch col.def.how {
	case defaultLiteral:
		return col.def.literal, nil
	case defaultUUID:
		return col.typ.parse(newUUID())
	case defaultNow:
		return col.typ.at(now), nil
	case defaultSequence:
		t.sequence++
		return col.typ.parse(strconv.FormatInt(t.sequence, 10))
	}
	return null, nil
}

// at is a point in time as a value of a time type.
func (t *Type) at(now time.Time) value {
	switch t.kind {
	case kindDate:
		v, _ := t.parseDate(formatDay(now.UTC()))
		return v
	case kindTime:
		v, _ := t.parseTime(formatClock(now.UTC()))
		return v
	}
	return t.instant(now)
}

// document writes a row as a map from column to JSON.
func (t *table) document(vals []value) map[string]json.RawMessage {
	doc := make(map[string]json.RawMessage, len(vals))
	for i, v := range vals {
		doc[t.columns[i].name] = t.columns[i].typ.appendJSON(nil, v, toJSONB)
	}
	return doc
}

// describe writes columns and their values as Postgres does in details: (a, b)=(1, 2).
func (t *table) describe(columns []int, vals []value) string {
	names, texts := make([]string, len(columns)), make([]string, len(columns))
	for i, c := range columns {
		names[i], texts[i] = t.columns[c].name, vals[c].text
	}
	return "Key (" + strings.Join(names, ", ") + ")=(" + strings.Join(texts, ", ") + ")"
}
