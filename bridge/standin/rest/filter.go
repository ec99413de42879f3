package rest

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/supabridge/supabridge/bridge/standin/sql"
)

// maxFilterDepth bounds how deep or= and and= nest.
const maxFilterDepth = 64

// operators are those of PostgREST; the value is whether they may be quantified by (any) and (all).
var operators = map[string]bool{
	"eq": true, "gte": true, "gt": true, "lte": true, "lt": true, "like": true, "ilike": true, "match": true,
	"imatch": true,
	"neq":    false, "isdistinct": false, "in": false, "is": false,
}

// foreignOperators are PostgREST's, but not ours.
var foreignOperators = []string{"cs", "cd", "ov", "sl", "sr", "nxr", "nxl", "adj", "fts", "plfts", "phfts", "wfts"}

// parseFilter reads the parameter column=text, text being such as "eq.5" or "not.in.(a,b)".
func parseFilter(column, text string) (sql.Condition, error) {
	p := filterParser{what: "filter", text: text}
	f, err := p.parameterField(column)
	if err != nil {
		return sql.Condition{}, err
	}
	c, err := p.comparison(f, false)
	if err != nil {
		return sql.Condition{}, err
	}
	return c, p.end()
}

// parseTree reads the parameter or=(…), and=(…), not.or=(…), not.and=(…).
func parseTree(name, text string) (sql.Condition, error) {
	p := filterParser{what: "logic tree", text: text}
	name, not := strings.CutPrefix(name, "not.")
	c, err := p.tree(name, 0)
	if err != nil {
		return sql.Condition{}, err
	}
	c.Not = not
	return c, p.end()
}

// filterParser reads one parameter from left to right.
type filterParser struct {
	what string
	text string
	pos  int
}

func (p *filterParser) rest() string { return p.text[p.pos:] }

func (p *filterParser) take(prefix string) bool {
	if strings.HasPrefix(p.rest(), prefix) {
		p.pos += len(prefix)
		return true
	}
	return false
}

// expected is the error that says what should have stood where the parser is.
func (p *filterParser) expected(what string) error {
	found := "end of input"
	if p.pos < len(p.text) {
		r, _ := utf8.DecodeRuneInString(p.rest())
		found = fmt.Sprintf("%q", r)
	}
	return parseError(p.what, p.text, p.pos, "unexpected "+found+" expecting "+what)
}

// parseError is PostgREST's error for a parameter it can't read.
func parseError(what, text string, pos int, details string) *sql.Error {
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	return &sql.Error{Code: "PGRST100", Details: details,
		Message: fmt.Sprintf("%q (line 1, column %d)", "failed to parse "+what+" ("+text+")", pos+1)}
}

// notImplemented is the error for what PostgREST has and the stand-in has not.
func notImplemented(what string) *sql.Error {
	return &sql.Error{Code: "PGRST127", Message: "Feature not implemented",
		Details: "The stand-in does not support " + what + "."}
}

func (p *filterParser) end() error {
	if p.pos < len(p.text) {
		return p.expected("end of input")
	}
	return nil
}

// parameterField reads the field that a filter's parameter is named for.
func (p *filterParser) parameterField(name string) (sql.Field, error) {
	f, rest, ok := cutField(name)
	switch {
	case ok && rest == "":
		return f, nil
	case ok && rest[0] == '.':
		return f, notEmbedded(f.Column)
	}
	return f, parseError("filter", name, len(name)-len(rest), "expecting field name (* or [a..z0..9_$])")
}

// notEmbedded is the error for a filter or order on another table.
func notEmbedded(resource string) *sql.Error {
	return &sql.Error{Code: "PGRST108", Message: "'" + resource + "' is not an embedded resource in this request",
		Hint: "Verify that '" + resource + "' is included in the 'select' query parameter."}
}

// tree reads (condition,condition,…).
func (p *filterParser) tree(op string, depth int) (sql.Condition, error) {
	if depth >= maxFilterDepth {
		return sql.Condition{}, parseError(p.what, p.text, p.pos, "the tree nests too deep")
	}
	c := sql.Condition{Tree: op}
	if !p.take("(") {
		return c, p.expected(`"("`)
	}
	for {
		p.space()
		child, err := p.node(depth)
		if err != nil {
			return c, err
		}
		c.Children = append(c.Children, child)
		p.space()
		if p.take(")") {
			return c, nil
		}
		if !p.take(",") {
			return c, p.expected(`"," or ")"`)
		}
	}
}

func (p *filterParser) space() {
	for p.take(" ") {
	}
}

// node reads one member of a tree: another tree, or a comparison with its column.
func (p *filterParser) node(depth int) (sql.Condition, error) {
	for _, op := range []string{"and", "or"} {
		for _, not := range []string{"", "not."} {
			if strings.HasPrefix(p.rest(), not+op+"(") {
				p.pos += len(not + op)
				c, err := p.tree(op, depth+1)
				c.Not = not != ""
				return c, err
			}
		}
	}
	f, rest, ok := cutField(p.rest())
	if !ok {
		return sql.Condition{}, p.expected("field name (* or [a..z0..9_$])")
	}
	p.pos = len(p.text) - len(rest)
	if !p.take(".") {
		return sql.Condition{}, p.expected(`"."`)
	}
	return p.comparison(f, true)
}

// comparison reads [not.]op[(any)].value. Inside a tree the value ends at a comma or closing
// parenthesis.
func (p *filterParser) comparison(f sql.Field, inTree bool) (sql.Condition, error) {
	c := sql.Condition{Field: f, Not: p.take("not.")}
	start := p.pos
	for p.pos < len(p.text) && unicode.IsLetter(rune(p.text[p.pos])) {
		p.pos++
	}
	c.Op = p.text[start:p.pos]
	quantified, known := operators[c.Op]
	if slices.Contains(foreignOperators, c.Op) {
		return c, notImplemented("the operator " + c.Op)
	}
	if !known {
		p.pos = start
		return c, p.expected("\"not\" or operator (eq, gt, ...)")
	}
	if quantified {
		c.Any, c.All = p.take("(any)"), false
		if !c.Any {
			c.All = p.take("(all)")
		}
	}
	if !p.take(".") {
		return c, p.expected(`"."`)
	}
	var err error
	switch {
	case c.Op == "in":
		c.Values, err = p.list('(', ')')
	case c.Any || c.All:
		c.Values, err = p.list('{', '}')
	default:
		c.Values = []string{p.scalar(inTree)}
	}
	if err == nil && c.Op == "is" {
		c.Values[0] = strings.ToLower(c.Values[0])
		switch c.Values[0] {
		case "null", "not_null", "true", "false", "unknown":
		default:
			err = p.expected("isVal: (null, not_null, true, false, unknown)")
		}
	}
	return c, err
}

// scalar reads a value. At the top the rest of the parameter is the value, quotes and all.
func (p *filterParser) scalar(inTree bool) string {
	if !inTree {
		text := p.rest()
		p.pos = len(p.text)
		return text
	}
	return p.member(",)")
}

// member reads a value up to one of the characters that end it, or a quoted one if nothing follows
// its quotes.
func (p *filterParser) member(ends string) string {
	if text, n, ok := cutQuoted(p.rest()); ok && (n == len(p.rest()) || strings.IndexByte(ends, p.rest()[n]) >= 0) {
		p.pos += n
		return text
	}
	start := p.pos
	for p.pos < len(p.text) && strings.IndexByte(ends, p.text[p.pos]) < 0 {
		p.pos++
	}
	return p.text[start:p.pos]
}

// list reads values in brackets.
func (p *filterParser) list(open, shut byte) ([]string, error) {
	if !p.take(string(open)) {
		return nil, p.expected(fmt.Sprintf("%q", string(open)))
	}
	if p.take(string(shut)) {
		return nil, nil
	}
	var values []string
	for {
		values = append(values, p.member(","+string(shut)))
		if p.take(string(shut)) {
			return values, nil
		}
		if !p.take(",") {
			return nil, p.expected(fmt.Sprintf(`"," or %q`, string(shut)))
		}
	}
}

// cutQuoted reads a text in double quotes at the start of s, in which a backslash escapes the next
// character, and says how long it is with its quotes.
func cutQuoted(s string) (text string, length int, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		return "", 0, false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), i + 1, true
		case '\\':
			i++
			if i < len(s) {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return "", 0, false
}
