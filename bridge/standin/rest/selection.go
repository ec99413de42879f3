package rest

import (
	"slices"
	"strconv"
	"strings"

	"github.com/supabridge/supabridge/bridge/standin/sql"
)

// parseSelect reads select=; an empty text is every column.
func parseSelect(t *sql.Relation, text string) (sql.Projection, error) {
	if strings.TrimSpace(text) == "" {
		return t.Everything(), nil
	}
	var out sql.Projection
	for _, item := range splitOutside(text, ',') {
		item = strings.TrimSpace(item)
		switch {
		case item == "*":
			out = append(out, t.Everything()...)
			continue
		case item == "":
			return nil, parseError("select parameter", text, 0, "unexpected \",\" expecting field name (* or [a..z0..9_$])")
		case aggregate(item):
			return nil, &sql.Error{Code: "PGRST123", Message: "Use of aggregate functions is not allowed"}
		case hasOutside(item, "("):
			return nil, notImplemented("embedding other tables in select")
		case hasOutside(item, "::"):
			return nil, notImplemented("casts in select")
		}
		p, err := parseField(t, item, text)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// parseField reads field or alias:field.
func parseField(t *sql.Relation, item, text string) (sql.Output, error) {
	f, rest, ok := cutField(item)
	name := nameOf(f)
	if ok && len(f.Path) == 0 && strings.HasPrefix(rest, ":") {
		name = f.Column
		f, rest, ok = cutField(strings.TrimSpace(rest[1:]))
	}
	if !ok || rest != "" {
		return sql.Output{}, parseError("select parameter", text,
			strings.Index(text, item)+len(item)-len(rest), "expecting \",\" or end of input")
	}
	expr, err := t.Expression(f)
	return sql.Output{Name: name, Expr: expr}, err
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

// eachOutside calls fn for each byte outside of double quotes, with how many parentheses are open
// around it, until it returns false.
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

// parseOrder reads order=, such as created_at.desc.nullslast,id.
func parseOrder(t *sql.Relation, text string) ([]sql.OrderTerm, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var terms []sql.OrderTerm
	for _, item := range splitOutside(text, ',') {
		f, rest, ok := cutField(strings.TrimSpace(item))
		if !ok {
			return nil, parseError("order", text, 0, "unexpected \",\" expecting field name")
		}
		if strings.HasPrefix(rest, "(") {
			return nil, notImplemented("ordering by an embedded table")
		}
		expr, err := t.Expression(f)
		if err != nil {
			return nil, err
		}
		if err := expr.Sortable(); err != nil {
			return nil, err
		}
		term := sql.OrderTerm{Expr: expr}
		words := strings.Split(strings.TrimPrefix(rest, "."), ".")
		if rest == "" {
			words = nil
		}
		if len(words) > 0 && (words[0] == "asc" || words[0] == "desc") {
			term.Descending = words[0] == "desc"
			words = words[1:]
		}
		term.NullsFirst = term.Descending
		if len(words) > 0 && (words[0] == "nullsfirst" || words[0] == "nullslast") {
			term.NullsFirst = words[0] == "nullsfirst"
			words = words[1:]
		}
		if len(words) > 0 {
			return nil, parseError(
				"order",
				text,
				max(0, strings.Index(text, words[0])),
				"expecting \"asc\", \"desc\", \"nullsfirst\" or \"nullslast\"",
			)
		}
		terms = append(terms, term)
	}
	return terms, nil
}

// window is limit and offset.
type window struct {
	offset int
	limit  int // -1: none
}

// of is the part of rows in the window.
func (w window) of(rows []*sql.Row) []*sql.Row {
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

func rangeError(details string) error {
	return refused(416, &sql.Error{Code: "PGRST103", Message: "Requested range not satisfiable", Details: details})
}
