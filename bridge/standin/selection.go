package standin

import (
	"slices"
	"strconv"
	"strings"
)

// projection is what select= asks for: values under names.
type projection []projected

type projected struct {
	name string // key in the answer
	expr expression
}

// parseSelect reads select=; an empty text is every column.
func (t *table) parseSelect(text string) (projection, error) {
	if strings.TrimSpace(text) == "" {
		return t.everything(), nil
	}
	var out projection
	for _, item := range splitOutside(text, ',') {
		item = strings.TrimSpace(item)
		switch {
		case item == "*":
			out = append(out, t.everything()...)
			continue
		case item == "":
			return nil, parseError("select parameter", text, 0, "unexpected \",\" expecting field name (* or [a..z0..9_$])")
		case aggregate(item):
			return nil, &Error{Code: "PGRST123", Message: "Use of aggregate functions is not allowed"}
		case hasOutside(item, "("):
			return nil, notImplemented("embedding other tables in select")
		case hasOutside(item, "::"):
			return nil, notImplemented("casts in select")
		}
		p, err := t.parseField(item, text)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// parseField reads field or alias:field.
func (t *table) parseField(item, text string) (projected, error) {
	f, rest, ok := cutField(item)
	name := f.name()
	if ok && len(f.path) == 0 && strings.HasPrefix(rest, ":") {
		name = f.column
		f, rest, ok = cutField(strings.TrimSpace(rest[1:]))
	}
	if !ok || rest != "" {
		return projected{}, parseError("select parameter", text, strings.Index(text, item)+len(item)-len(rest), "expecting \",\" or end of input")
	}
	expr, err := t.expression(f)
	return projected{name: name, expr: expr}, err
}

func (t *table) everything() projection {
	all := make(projection, len(t.columns))
	for c := range t.columns {
		typ := t.columns[c].typ
		all[c] = projected{name: t.columns[c].name, expr: expression{column: c, from: typ, typ: typ}}
	}
	return all
}

// aggregate tells whether a select item is a call such as count() or amount.sum().
func aggregate(item string) bool {
	call, ok := strings.CutSuffix(item, "()")
	if !ok {
		return false
	}
	call = call[strings.LastIndexAny(call, ".:")+1:]
	return slices.Contains([]string{"count", "sum", "avg", "min", "max"}, call)
}

// splitOutside splits at a separator outside of double quotes and parentheses.
func splitOutside(text string, separator byte) []string {
	var parts []string
	start := 0
	eachOutside(text, func(i, depth int) bool {
		if depth == 0 && text[i] == separator {
			parts = append(parts, text[start:i])
			start = i + 1
		}
		return true
	})
	return append(parts, text[start:])
}

// hasOutside tells whether a mark stands outside of double quotes.
func hasOutside(text, mark string) bool {
	found := false
	eachOutside(text, func(i, _ int) bool {
		found = strings.HasPrefix(text[i:], mark)
		return !found
	})
	return found
}

// eachOutside calls fn for each byte outside of double quotes, with how many parentheses are open around it, until it
// returns false.
func eachOutside(text string, fn func(i, depth int) bool) {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted:
			switch c {
			case '\\':
				i++
			case '"':
				quoted = false
			}
			continue
		case c == '"':
			quoted = true
			continue
		case c == ')':
			depth--
		}
		if !fn(i, depth) {
			return
		}
		if text[i] == '(' {
			depth++
		}
	}
}

// append appends a row as a JSON object with the columns projected.
func (p projection) append(dst []byte, vals []value, stripNulls bool) []byte {
	dst = append(dst, '{')
	first := true
	for _, f := range p {
		v := f.expr.of(vals)
		if stripNulls && v.null {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(appendString(dst, f.name), ':')
		dst = f.expr.typ.appendJSON(dst, v, rowToJSON)
	}
	return append(dst, '}')
}

// orderTerm is one term of order=.
type orderTerm struct {
	expr       expression
	descending bool
	nullsFirst bool
}

// parseOrder reads order=, such as created_at.desc.nullslast,id.
func (t *table) parseOrder(text string) ([]orderTerm, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var terms []orderTerm
	for _, item := range splitOutside(text, ',') {
		f, rest, ok := cutField(strings.TrimSpace(item))
		if !ok {
			return nil, parseError("order", text, 0, "unexpected \",\" expecting field name")
		}
		if strings.HasPrefix(rest, "(") {
			return nil, notImplemented("ordering by an embedded table")
		}
		expr, err := t.expression(f)
		if err != nil {
			return nil, err
		}
		if expr.typ.kind == kindJSON {
			return nil, &Error{Code: "42883", Message: "could not identify an ordering operator for type json",
				Hint: "Use an explicit ordering operator or modify the query."}
		}
		term := orderTerm{expr: expr}
		words := strings.Split(strings.TrimPrefix(rest, "."), ".")
		if rest == "" {
			words = nil
		}
		if len(words) > 0 && (words[0] == "asc" || words[0] == "desc") {
			term.descending = words[0] == "desc"
			words = words[1:]
		}
		term.nullsFirst = term.descending
		if len(words) > 0 && (words[0] == "nullsfirst" || words[0] == "nullslast") {
			term.nullsFirst = words[0] == "nullsfirst"
			words = words[1:]
		}
		if len(words) > 0 {
			return nil, parseError("order", text, max(0, strings.Index(text, words[0])), "expecting \"asc\", \"desc\", \"nullsfirst\" or \"nullslast\"")
		}
		terms = append(terms, term)
	}
	return terms, nil
}

// sortRows orders rows by the terms, and rows equal in them by their place in the table.
func sortRows(rows []*row, terms []orderTerm) {
	if len(terms) == 0 {
		return
	}
	type keyed struct {
		row  *row
		keys []value
	}
	all := make([]keyed, len(rows))
	for i, r := range rows {
		all[i] = keyed{r, make([]value, len(terms))}
		for k, term := range terms {
			all[i].keys[k] = term.expr.of(r.vals)
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
func (term orderTerm) compare(a, b value) int {
	switch {
	case a.null && b.null:
		return 0
	case a.null || b.null:
		if a.null == term.nullsFirst {
			return -1
		}
		return 1
	case term.descending:
		return -term.expr.typ.compare(a, b)
	}
	return term.expr.typ.compare(a, b)
}

// window is limit and offset.
type window struct {
	offset int
	limit  int // -1: none
}

// of is the part of rows in the window.
func (w window) of(rows []*row) []*row {
	rows = rows[min(w.offset, len(rows)):]
	if w.limit >= 0 && w.limit < len(rows) {
		rows = rows[:w.limit]
	}
	return rows
}

// parseWindow reads limit= and offset=.
func parseWindow(limit, offset string) (window, error) {
	w := window{limit: -1}
	for _, p := range []struct {
		name, text string
		into       *int
	}{{"limit", limit, &w.limit}, {"offset", offset, &w.offset}} {
		if p.text == "" {
			continue
		}
		n, err := strconv.ParseInt(p.text, 10, 32)
		if err != nil {
			return w, parseError(p.name+" parameter", p.text, 0, "expecting an integer")
		}
		if n < 0 {
			return w, rangeError("Limit should be greater than or equal to zero.")
		}
		*p.into = int(n)
	}
	return w, nil
}

func rangeError(details string) *Error {
	return &Error{Code: "PGRST103", Message: "Requested range not satisfiable", Details: details, status: 416}
}
