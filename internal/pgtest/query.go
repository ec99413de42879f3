package pgtest

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// params are a request's, in PostgREST's grammar.
type params struct {
	selected []string // columns; nil is all of them
	where    []string // conditions in SQL
	order    []string
	limit    int // -1 is none
	offset   int
	conflict []string // columns
}

func badQuery(what, text string) error {
	return fail(http.StatusBadRequest, "PGRST100", `"failed to parse `+what+` (`+text+`)"`)
}

func parseParams(query string) (params, error) {
	p := params{limit: -1}
	values, err := url.ParseQuery(query)
	if err != nil {
		return p, badQuery("the query", query)
	}
	for name, list := range values {
		for _, text := range list {
			if err := p.set(name, text); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}

func (p *params) set(name, text string) (err error) {
	switch name {
	case "apikey", "columns":
	case "select":
		if text != "*" && text != "" {
			p.selected, err = names(text)
		}
	case "on_conflict":
		p.conflict, err = names(text)
	case "limit":
		p.limit, err = strconv.Atoi(text)
	case "offset":
		p.offset, err = strconv.Atoi(text)
	case "order":
		for _, term := range list(text) {
			part, err := orderBy(term)
			if err != nil {
				return err
			}
			p.order = append(p.order, part)
		}
	case "and", "or", "not.and", "not.or":
		s := scanner{name + text}
		condition, err := s.condition()
		if err != nil || s.rest != "" {
			return badQuery("the logic tree", text)
		}
		p.where = append(p.where, condition)
	default:
		column, err := names(name)
		if err != nil || len(column) != 1 {
			return badQuery("the filter", name)
		}
		condition, err := compare(column[0], text, false)
		if err != nil {
			return err
		}
		p.where = append(p.where, condition)
	}
	if err != nil {
		return badQuery(name, text)
	}
	return nil
}

// list parts text at the commas that stand in no quotes or parentheses.
func list(text string) []string {
	var parts []string
	depth, from, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch {
		case quoted && text[i] == '\\':
			i++
		case text[i] == '"':
			quoted = !quoted
		case quoted:
		case text[i] == '(':
			depth++
		case text[i] == ')':
			depth--
		case text[i] == ',' && depth == 0:
			parts = append(parts, text[from:i])
			from = i + 1
		}
	}
	return append(parts, text[from:])
}

// names are column names, which may be quoted.
func names(text string) ([]string, error) {
	var all []string
	for _, part := range list(text) {
		s := scanner{strings.TrimSpace(part)}
		name, ok := s.word(",")
		if !ok || name == "" || s.rest != "" || part[0] != '"' && strings.ContainsAny(name, "():>") {
			return nil, badQuery("the columns", text) // embedding, casts, aliases and JSON paths are not known here
		}
		all = append(all, name)
	}
	return all, nil
}

func orderBy(term string) (string, error) {
	s := scanner{term}
	name, ok := s.word(".")
	out := quoteName(name)
	if !ok || name == "" {
		return "", badQuery("the order", term)
	}
	for _, word := range strings.Split(strings.TrimPrefix(s.rest, "."), ".") {
		switch word {
		case "":
		case "asc", "desc":
			out += " " + word
		case "nullsfirst":
			out += " nulls first"
		case "nullslast":
			out += " nulls last"
		default:
			return "", badQuery("the order", term)
		}
	}
	return out, nil
}

// scanner reads a logic tree.
type scanner struct{ rest string }

// word takes a name or value, quoted or up to one of the bytes in ends.
func (s *scanner) word(ends string) (string, bool) {
	if !strings.HasPrefix(s.rest, `"`) {
		n := strings.IndexAny(s.rest, ends)
		if n < 0 {
			n = len(s.rest)
		}
		text := s.rest[:n]
		s.rest = s.rest[n:]
		return text, true
	}
	var b strings.Builder
	for i := 1; i < len(s.rest); i++ {
		switch s.rest[i] {
		case '\\':
			if i++; i < len(s.rest) {
				b.WriteByte(s.rest[i])
			}
		case '"':
			s.rest = s.rest[i+1:]
			return b.String(), true
		default:
			b.WriteByte(s.rest[i])
		}
	}
	return "", false
}

// condition takes and(…), or(…), or column.op.value, each of which may be negated.
func (s *scanner) condition() (string, error) {
	for _, c := range []struct{ prefix, joint, not string }{{"and(", " and ", ""}, {"or(", " or ", ""}, {"not.and(",
		" and ", "not "}, {"not.or(", " or ", "not "}} {
		rest, ok := strings.CutPrefix(s.rest, c.prefix)
		if !ok {
			continue
		}
		s.rest = rest
		var parts []string
		for {
			part, err := s.condition()
			if err != nil {
				return "", err
			}
			parts = append(parts, part)
			if rest, ok := strings.CutPrefix(s.rest, ","); ok {
				s.rest = rest
				continue
			}
			if s.rest, ok = strings.CutPrefix(s.rest, ")"); !ok {
				return "", badQuery("the logic tree", s.rest)
			}
			return c.not + "(" + strings.Join(parts, c.joint) + ")", nil
		}
	}
	column, ok := s.word(".")
	if !ok || !strings.HasPrefix(s.rest, ".") {
		return "", badQuery("the logic tree", s.rest)
	}
	text := s.rest[1:]
	n := len(text)
	depth, quoted := 0, false
	for i := 0; i < len(text) && n == len(text); i++ {
		switch {
		case quoted && text[i] == '\\':
			i++
		case text[i] == '"':
			quoted = !quoted
		case quoted:
		case text[i] == '(':
			depth++
		case text[i] == ')' && depth > 0:
			depth--
		case text[i] == ')', text[i] == ',' && depth == 0:
			n = i
		}
	}
	s.rest = text[n:]
	return compare(column, text[:n], true)
}

// operators of filters, by PostgREST's names.
var operators = map[string]string{
	"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "like": "like", "ilike": "ilike",
	"match": "~", "imatch": "~*",
	"isdistinct": "is distinct from",
}

// compare is op.value as a condition; within a tree the value may be quoted.
func compare(column, text string, tree bool) (string, error) {
	text, negated := strings.CutPrefix(text, "not.")
	op, value, ok := strings.Cut(text, ".")
	if !ok {
		return "", badQuery("the filter", text)
	}
	name := quoteName(column)
	out := ""
	switch {
	case op == "is" && slices.Contains([]string{"null", "not_null", "true", "false", "unknown"}, strings.ToLower(value)):
		out = name + " is " + strings.ReplaceAll(strings.ToLower(value), "_", " ")
	case op == "in" && strings.HasPrefix(value, "(") && strings.HasSuffix(value, ")"):
		var values []string
		for _, part := range list(value[1 : len(value)-1]) {
			s := scanner{part}
			word, ok := s.word(",")
			if !ok || s.rest != "" {
				return "", badQuery("the filter", text)
			}
			values = append(values, quoteText(word))
		}
		out = name + " in (" + strings.Join(values, ", ") + ")"
	case operators[op] != "":
		if tree && strings.HasPrefix(value, `"`) {
			s := scanner{value}
			if value, ok = s.word(""); !ok || s.rest != "" {
				return "", badQuery("the filter", text)
			}
		}
		if op == "like" || op == "ilike" {
			value = strings.ReplaceAll(value, "*", "%")
		}
		out = name + " " + operators[op] + " " + quoteText(value)
	default:
		return "", badQuery("the filter", text)
	}
	if negated {
		out = "not " + out
	}
	return "(" + out + ")", nil
}
