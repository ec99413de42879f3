package phxserver

import (
	"fmt"
	"strings"
)

// maxInValues bounds the list of an in filter, as the database does.
const maxInValues = 100

// condition is one term of a filter: column=op.value, perhaps negated. The terms
// of a filter are all to hold.
type condition struct {
	column, op string
	value      string   // unquoted
	list       []string // the values of in, unquoted
	negated    bool
}

var filterOps = map[string]bool{
	"eq": true, "neq": true, "lt": true, "lte": true, "gt": true, "gte": true, "in": true,
	"like": true, "ilike": true, "is": true, "match": true, "imatch": true, "isdistinct": true,
}

// parseFilter reads the filter of a binding: conditions separated by commas. A
// blank filter is no filter. The error is the text the client gets.
func parseFilter(filter string) ([]condition, error) {
	if strings.TrimSpace(filter) == "" {
		return nil, nil
	}
	var conds []condition
	for _, segment := range splitFilter(filter) {
		c, err := parseCondition(strings.TrimSpace(segment))
		if err != nil {
			return nil, err
		}
		conds = append(conds, c)
	}
	return conds, nil
}

// splitFilter cuts at the commas outside of parentheses and quotes. A double quote
// opens only where a value can begin; inside, a backslash takes the next byte as
// it is.
func splitFilter(s string) []string {
	var parts []string
	depth, start, quoted := 0, 0, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quoted && c == '\\':
			i++
		case quoted:
			quoted = c != '"'
		case c == '"':
			quoted = i > 0 && strings.IndexByte(".(,", s[i-1]) >= 0
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == ',' && depth == 0:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}

// toldError is an error in the words that the client gets.
type toldError string

func (e toldError) Error() string { return string(e) }

func told(format string, args ...any) error { return toldError(fmt.Sprintf(format, args...)) }

func filterError(parts ...string) error {
	return told("Error parsing `filter` params: %s", inspectStrings(parts))
}

func parseCondition(segment string) (condition, error) {
	column, rest, ok := strings.Cut(segment, "=")
	if !ok {
		return condition{}, filterError(segment)
	}
	c := condition{column: column}
	expr := rest
	if after, ok := strings.CutPrefix(expr, "not."); ok {
		c.negated, expr = true, after
	}
	op, value, ok := strings.Cut(expr, ".")
	if !ok {
		return condition{}, filterError(rest)
	}
	if !filterOps[op] || column == "" {
		return condition{}, filterError(op, value)
	}
	c.op = op
	if op != "in" {
		c.value = unquoteFilter(value)
		return c, nil
	}
	inner, ok := strings.CutPrefix(value, "(")
	if ok {
		inner, ok = strings.CutSuffix(inner, ")")
	}
	if !ok {
		return condition{}, filterError(op, value)
	}
	for _, v := range splitFilter("," + inner)[1:] { // the comma lets a quote open at the start
		c.list = append(c.list, unquoteFilter(strings.TrimSpace(v)))
	}
	return c, nil
}

// unquoteFilter takes the quotes off a quoted value; other values are what they are.
func unquoteFilter(v string) string {
	if len(v) < 2 || v[0] != '"' || v[len(v)-1] != '"' {
		return v
	}
	inner := v[1 : len(v)-1]
	if strings.IndexByte(inner, '\\') < 0 {
		return inner
	}
	var b strings.Builder
	for i := 0; i < len(inner); i++ {
		if inner[i] == '\\' && i+1 < len(inner) {
			i++
		}
		b.WriteByte(inner[i])
	}
	return b.String()
}

// describe prints the condition as error texts quote it.
func (c condition) describe() string {
	value := c.value
	if c.op == "in" {
		value = arrayLiteral(c.list)
	}
	return fmt.Sprintf("{%s, %s, %s, %t}", inspect(c.column), inspect(c.op), inspect(value), c.negated)
}

// arrayLiteral prints values as a Postgres array.
func arrayLiteral(list []string) string {
	out := make([]string, len(list))
	for i, v := range list {
		if v == "" || strings.EqualFold(v, "null") || strings.ContainsAny(v, `,{}"\ `+"\t\n") {
			v = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v) + `"`
		}
		out[i] = v
	}
	return "{" + strings.Join(out, ",") + "}"
}
