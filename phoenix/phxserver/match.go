package phxserver

import (
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"time"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// matcher is a condition made ready for a column of a known type.
type matcher struct {
	condition
	class valueClass
	want  value
	among []value
	re    *regexp.Regexp // like, ilike, match, imatch
}

// valueClass says how values of a column compare.
type valueClass uint8

const (
	asText valueClass = iota
	asNumber
	asBool
	asTime
	asUUID
)

// pgType is what error texts and comparisons need to know of a type.
type pgType struct {
	name  string // as error texts call it
	class valueClass
	whole bool // integers only
}

var pgTypes = map[string]pgType{
	"int2": {"smallint", asNumber, true}, "int4": {"integer", asNumber, true}, "int8": {"bigint", asNumber, true},
	"oid": {"oid", asNumber, true}, "numeric": {"numeric", asNumber, false},
	"float4": {"real", asNumber, false}, "float8": {"double precision", asNumber, false},
	"bool": {"boolean", asBool, false}, "uuid": {"uuid", asUUID, false},
	"date": {"date", asTime, false}, "timestamp": {"timestamp", asTime, false},
	"timestamptz": {"timestamp with time zone", asTime, false},
}

var textTypes = map[string]bool{
	"text":    true,
	"varchar": true,
	"bpchar":  true,
	"name":    true,
	"citext":  true,
	"char":    true,
}

// value is a parsed scalar of one class.
type value struct {
	text     string
	number   *big.Rat
	truth    bool
	instant  time.Time
	infinity int // -1 and +1 for infinite times and numbers
}

// databaseError prints an exception of the database as subscription errors quote it.
func databaseError(code, condition, format string, args ...any) error {
	return told("ERROR %s (%s) %s", code, condition, fmt.Sprintf(format, args...))
}

// compile checks a condition against the column's type, with the errors that the
// database raises for it.
func compile(c condition, columnType string) (matcher, error) {
	t := pgTypes[columnType]
	m := matcher{condition: c, class: t.class}
	switch c.op {
	case "is":
		return m, m.compileIs(columnType)
	case "like", "ilike", "match", "imatch":
		if !textTypes[columnType] {
			return m, databaseError("42883", "undefined_function", "operator does not exist: %s %s unknown", columnType, c.op)
		}
		return m, m.compilePattern()
	case "in":
		if len(c.list) > maxInValues {
			return m, databaseError("P0001", "raise_exception", "too many values for `in` filter. Maximum %d", maxInValues)
		}
		for _, text := range c.list {
			v, err := parseValue(text, columnType)
			if err != nil {
				return m, err
			}
			m.among = append(m.among, v)
		}
		return m, nil
	}
	v, err := parseValue(c.value, columnType)
	m.want = v
	return m, err
}

func (m *matcher) compileIs(columnType string) error {
	switch strings.ToLower(m.value) {
	case "null":
		return nil
	case "true", "false", "unknown":
		if columnType == "bool" {
			return nil
		}
	}
	return databaseError("P0001", "raise_exception", "invalid value for is filter: %s", m.value)
}

func (m *matcher) compilePattern() error {
	expr := m.value
	if m.op == "like" || m.op == "ilike" {
		expr = likeToRegexp(m.value)
	}
	if m.op == "ilike" || m.op == "imatch" {
		expr = "(?i)" + expr
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return databaseError("2201B", "invalid_regular_expression", "invalid regular expression: %s", m.value)
	}
	m.re = re
	return nil
}

func likeToRegexp(pattern string) string {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for i, escaped := 0, false; i < len(pattern); i++ {
		c := pattern[i]
		switch {
		case !escaped && c == '\\':
			escaped = true
			continue
		case !escaped && c == '%':
			b.WriteString(".*")
		case !escaped && c == '_':
			b.WriteByte('.')
		case c >= 0x80: // part of a rune, never special
			b.WriteByte(c)
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
		escaped = false
	}
	b.WriteString(`\z`)
	return b.String()
}

// matches tests a row. A column that the row lacks never matches, whatever is
// asked of it: that is a delete of which only the key is known.
func (m *matcher) matches(row map[string]json.RawMessage) bool {
	raw, known := row[m.column]
	if !known {
		return false
	}
	text, null := scalarText(raw)
	result, known := m.test(text, null)
	return known && result != m.negated
}

// test answers in SQL's three values: known is false where SQL says null.
func (m *matcher) test(text string, null bool) (result, known bool) {
	switch m.op {
	case "is":
		switch strings.ToLower(m.value) {
		case "null", "unknown":
			return null, true
		case "true":
			return !null && text == "true", true
		}
		return !null && text == "false", true
	case "isdistinct":
		if null {
			return true, true
		}
		order, ok := m.compare(text, m.want)
		return !ok || order != 0, true
	}
	if null {
		return false, false
	}
	switch m.op {
	case "like", "ilike", "match", "imatch":
		return m.re.MatchString(text), true
	case "in":
		for _, v := range m.among {
			if order, ok := m.compare(text, v); ok && order == 0 {
				return true, true
			}
		}
		return false, true
	}
	order, ok := m.compare(text, m.want)
	if !ok {
		return false, false
	}
	switch m.op {
	case "eq":
		return order == 0, true
	case "neq":
		return order != 0, true
	case "lt":
		return order < 0, true
	case "lte":
		return order <= 0, true
	case "gt":
		return order > 0, true
	}
	return order >= 0, true
}

// compare orders a row's value against a parsed one; false when the row's value
// isn't of the column's type, such as NaN.
func (m *matcher) compare(text string, want value) (int, bool) {
	have, ok := readValue(text, m.class)
	if !ok {
		return 0, false
	}
	switch m.class {
	case asNumber:
		if have.infinity != 0 || want.infinity != 0 {
			return have.infinity - want.infinity, true
		}
		return have.number.Cmp(want.number), true
	case asBool:
		switch {
		case have.truth == want.truth:
			return 0, true
		case want.truth:
			return -1, true
		}
		return 1, true
	case asTime:
		if have.infinity != 0 || want.infinity != 0 {
			return have.infinity - want.infinity, true
		}
		return have.instant.Compare(want.instant), true
	}
	return strings.Compare(have.text, want.text), true
}

// parseValue reads a filter's literal as the column's type.
func parseValue(text, columnType string) (value, error) {
	t, known := pgTypes[columnType]
	if !known {
		return value{text: text}, nil
	}
	v, ok := readValue(text, t.class)
	if ok && t.whole {
		ok = v.infinity == 0 && v.number.IsInt() && !strings.ContainsAny(text, ".eE")
	}
	if ok {
		return v, nil
	}
	if t.class == asTime {
		return v, databaseError("22007", "invalid_datetime_format", "invalid input syntax for type %s: %q", t.name, text)
	}
	return v, databaseError(
		"22P02",
		"invalid_text_representation",
		"invalid input syntax for type %s: \"%s\"",
		t.name,
		text,
	)
}

func readValue(text string, class valueClass) (value, bool) {
	switch class {
	case asNumber:
		return readNumber(strings.TrimSpace(text))
	case asBool:
		switch strings.ToLower(text) {
		case "true", "t", "yes", "y", "on", "1":
			return value{truth: true}, true
		case "false", "f", "no", "n", "off", "0":
			return value{}, true
		}
		return value{}, false
	case asTime:
		return readTime(strings.TrimSpace(text))
	case asUUID:
		return readUUID(text)
	}
	return value{text: text}, true
}

// maxNumberText bounds a number's digits and its exponent: enough for numeric's
// recorded values, and no room for an exponent that fills the memory.
const maxNumberText = 400

func readNumber(text string) (value, bool) {
	switch strings.ToLower(text) {
	case "infinity", "inf":
		return value{infinity: 1}, true
	case "-infinity", "-inf":
		return value{infinity: -1}, true
	}
	if text == "" || len(text) > maxNumberText || strings.Trim(text, "0123456789+-.eE") != "" {
		return value{}, false
	}
	if _, exp, ok := strings.Cut(strings.ToLower(text), "e"); ok && len(strings.Trim(exp, "+-")) > 3 {
		return value{}, false
	}
	r, ok := new(big.Rat).SetString(text)
	return value{number: r}, ok
}

var timeLayouts = []string{
	"2006-01-02T15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999Z0700", "2006-01-02T15:04:05.999999999Z07",
	"2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02",
}

func readTime(text string) (value, bool) {
	switch strings.ToLower(text) {
	case "infinity":
		return value{infinity: 1}, true
	case "-infinity":
		return value{infinity: -1}, true
	}
	if len(text) > 10 && text[10] == ' ' {
		text = text[:10] + "T" + text[11:]
	}
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, text); err == nil {
			return value{instant: t}, true
		}
	}
	return value{}, false
}

// readUUID takes the spellings Postgres takes and brings them to one.
func readUUID(text string) (value, bool) {
	s := strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(text, "{"), "}"))
	digits := strings.ReplaceAll(s, "-", "")
	if len(digits) != 32 || strings.Trim(digits, "0123456789abcdef") != "" {
		return value{}, false
	}
	return value{text: digits}, true
}

// scalarText is the text of a row's value: a string without its quotes, anything
// else as JSON.
func scalarText(raw json.RawMessage) (text string, null bool) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", true
	}
	if raw[0] == '"' {
		if s, err := wire.Unquote(raw); err == nil {
			return s, false
		}
	}
	return string(raw), false
}
