package sql

import "slices"

// Projection is what a statement gives of each row: values under names.
type Projection []Output

// Output is one value of a projection.
type Output struct {
	Name string // key in the answer
	Expr Expression
}

func (t *table) everything() Projection {
	all := make(Projection, len(t.columns))
	for c := range t.columns {
		typ := t.columns[c].typ
		all[c] = Output{Name: t.columns[c].name, Expr: Expression{column: c, from: typ, typ: typ}}
	}
	return all
}

// Append appends a row as a JSON object with the columns projected.
func (p Projection) Append(dst []byte, r *Row, stripNulls bool) []byte {
	dst = append(dst, '{')
	first := true
	for _, f := range p {
		v := f.Expr.of(r.vals)
		if stripNulls && v.null {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(appendString(dst, f.Name), ':')
		dst = f.Expr.typ.appendJSON(dst, v, rowToJSON)
	}
	return append(dst, '}')
}

// OrderTerm is one term of ORDER BY.
type OrderTerm struct {
	Expr       Expression
	Descending bool
	NullsFirst bool
}

// Sort orders rows by the terms, and rows equal in them by their place in the table.
func Sort(rows []*Row, terms []OrderTerm) {
	if len(terms) == 0 {
		return
	}
	type keyed struct {
		row  *Row
		keys []value
	}
	all := make([]keyed, len(rows))
	for i, r := range rows {
		all[i] = keyed{r, make([]value, len(terms))}
		for k, term := range terms {
			all[i].keys[k] = term.Expr.of(r.vals)
		}
	}
	slices.SortStableFunc(all, func(a, b keyed) int {
		for k, term := range terms {
			if c := term.compare(a.keys[k], b.keys[k]); c != 0 {
				return c
			}
		}
		return 0
	})
	for i := range all {
		rows[i] = all[i].row
	}
}

// compare orders two values as the term asks.
func (term OrderTerm) compare(a, b value) int {
	switch {
	case a.null && b.null:
		return 0
	case a.null || b.null:
		if a.null == term.NullsFirst {
			return -1
		}
		return 1
	case term.Descending:
		return -term.Expr.typ.compare(a, b)
	}
	return term.Expr.typ.compare(a, b)
}
