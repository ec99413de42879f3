package sql

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// truth is SQL's: false, unknown (a null was asked) or true, in this order so that AND is the least
// and OR the greatest.
type truth int8

const (
	isFalse truth = iota
	isUnknown
	isTrue
)

func truthOf(b bool) truth {
	if b {
		return isTrue
	}
	return isFalse
}

// Condition is a test of a row as it is written: a comparison of a field, or a tree of such.
type Condition struct {
	Not      bool
	Tree     string // "and", "or"; empty for a comparison
	Children []Condition
	Field    Field
	// Op is PostgREST's name of the operator: eq, neq, gt, gte, lt, lte, in, is, like, ilike, match,
	// imatch, isdistinct. In the patterns of like and ilike * stands for %.
	Op       string
	All, Any bool     // the quantifier of Op
	Values   []string // one, or the members of a list
}

// Filter is a condition bound to a table. It is immutable.
type Filter struct {
	holds func(vals []value) truth
	// known are the values a column must have one of for the test to hold, where it says so; they let
	// an index find the rows.
	known map[int][]value
}

// bind resolves a condition's field and reads its values as the field's type.
func (t *table) bind(c Condition) (Filter, error) {
	var bound Filter
	var err error
	if c.Tree != "" {
		bound, err = t.bindTree(c)
	} else {
		bound, err = t.bindComparison(c)
	}
	if err != nil || !c.Not {
		return bound, err
	}
	holds := bound.holds
	return Filter{holds: func(vals []value) truth { return isTrue - holds(vals) }}, nil
}

func (t *table) bindTree(c Condition) (Filter, error) {
	children := make([]Filter, len(c.Children))
	for i, child := range c.Children {
		var err error
		if children[i], err = t.bind(child); err != nil {
			return Filter{}, err
		}
	}
	if c.Tree == "or" {
		return Filter{holds: func(vals []value) truth {
			worst := isFalse
			for _, child := range children {
				if worst = max(worst, child.holds(vals)); worst == isTrue {
					break
				}
			}
			return worst
		}}, nil
	}
	return All(children), nil
}

// All is the conjunction of filters.
func All(filters []Filter) Filter {
	all := Filter{known: map[int][]value{}, holds: func(vals []value) truth {
		worst := isTrue
		for _, child := range filters {
			if worst = min(worst, child.holds(vals)); worst == isFalse {
				break
			}
		}
		return worst
	}}
	for _, child := range filters {
		for column, values := range child.known {
			if have, ok := all.known[column]; !ok || len(values) < len(have) {
				all.known[column] = values
			}
		}
	}
	return all
}

func (t *table) bindComparison(c Condition) (Filter, error) {
	e, err := t.expression(c.Field)
	if err != nil {
		return Filter{}, err
	}
	if c.Op == "is" {
		return bindIs(e, c.Values[0])
	}
	ask, values, err := e.typ.question(c.Op, c.Values)
	if err != nil {
		return Filter{}, err
	}
	bound := Filter{holds: func(vals []value) truth { return ask(e.of(vals)) }}
	switch {
	case c.All && len(c.Values) != 1:
		parts, err := t.eachValue(c)
		if err != nil {
			return Filter{}, err
		}
		bound.holds = All(parts).holds
	case len(e.path) > 0: // no index knows
	case c.Op == "in", c.Op == "eq" && (c.Any || len(values) == 1):
		bound.known = map[int][]value{e.column: values}
	}
	return bound, nil
}

// eachValue makes a comparison of its own for each value of one quantified by (all).
func (t *table) eachValue(c Condition) ([]Filter, error) {
	parts := make([]Filter, len(c.Values))
	for i, v := range c.Values {
		var err error
		if parts[i], err = t.bindComparison(Condition{Field: c.Field, Op: c.Op, Values: []string{v}}); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// question is what an operator asks of a value: whether it holds against any of the texts, which it
// also gives read.
func (t *Type) question(op string, texts []string) (func(value) truth, []value, error) {
	switch op {
	case "like", "ilike":
		if !t.textual() {
			return nil, nil, t.noOperator(map[string]string{"like": "~~", "ilike": "~~*"}[op])
		}
		patterns := make([][]likeToken, len(texts))
		for i, text := range texts {
			patterns[i] = parseLike(strings.ReplaceAll(text, "*", "%"), op == "ilike")
		}
		return asked(func(v value) bool {
			return slices.ContainsFunc(patterns, func(p []likeToken) bool { return matchLike(p, v.text, op == "ilike") })
		}), nil, nil
	case "match", "imatch":
		return t.askMatch(op, texts)
	}
	if t.kind == kindJSON {
		return nil, nil, t.noOperator(
			map[string]string{"eq": "=", "in": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=",
				"isdistinct": "IS DISTINCT FROM"}[op],
		)
	}
	values := make([]value, len(texts))
	for i, text := range texts {
		var err error
		if values[i], err = t.parse(text); err != nil {
			return nil, nil, err
		}
	}
	if op == "isdistinct" {
		return func(v value) truth { return truthOf(v.null || t.compare(v, values[0]) != 0) }, nil, nil
	}
	accept := map[string]func(int) bool{
		"eq": func(c int) bool { return c == 0 }, "in": func(c int) bool { return c == 0 },
		"neq": func(c int) bool { return c != 0 },
		"gt":  func(c int) bool { return c > 0 }, "gte": func(c int) bool { return c >= 0 },
		"lt": func(c int) bool { return c < 0 }, "lte": func(c int) bool { return c <= 0 },
	}[op]
	return asked(func(v value) bool {
		return slices.ContainsFunc(values, func(w value) bool { return accept(t.compare(v, w)) })
	}), values, nil
}

// asked is a question to which null answers unknown.
func asked(holds func(value) bool) func(value) truth {
	return func(v value) truth {
		if v.null {
			return isUnknown
		}
		return truthOf(holds(v))
	}
}

func (t *Type) askMatch(op string, texts []string) (func(value) truth, []value, error) {
	if !t.textual() {
		return nil, nil, t.noOperator(map[string]string{"match": "~", "imatch": "~*"}[op])
	}
	patterns := make([]*regexp.Regexp, len(texts))
	for i, text := range texts {
		if op == "imatch" {
			text = "(?i)" + text
		}
		var err error
		if patterns[i], err = regexp.Compile(text); err != nil {
			return nil, nil, &Error{Code: "2201B", Message: "invalid regular expression"}
		}
	}
	return asked(func(v value) bool {
		return slices.ContainsFunc(patterns, func(p *regexp.Regexp) bool { return p.MatchString(v.text) })
	}), nil, nil
}

func (t *Type) noOperator(symbol string) *Error {
	return &Error{Code: "42883", Message: fmt.Sprintf("operator does not exist: %s %s unknown", t.long(), symbol),
		Hint: "No operator matches the given name and argument types. You might need to add explicit type casts."}
}

func bindIs(e Expression, what string) (Filter, error) {
	switch what {
	case "null":
		return Filter{holds: func(vals []value) truth { return truthOf(e.of(vals).null) }}, nil
	case "not_null":
		return Filter{holds: func(vals []value) truth { return truthOf(!e.of(vals).null) }}, nil
	}
	if e.typ.kind != kindBool {
		return Filter{}, &Error{Code: "42804",
			Message: fmt.Sprintf("argument of IS %s must be type boolean, not type %s", strings.ToUpper(what), e.typ.long())}
	}
	return Filter{holds: func(vals []value) truth {
		v := e.of(vals)
		switch what {
		case "true":
			return truthOf(!v.null && v.n == 1)
		case "false":
			return truthOf(!v.null && v.n == 0)
		}
		return truthOf(v.null)
	}}, nil
}
