package sql

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// value is one column of one row. It is immutable.
type value struct {
	null bool
	// text is the canonical text: for numbers, text, uuid and bytea as Postgres prints it, for times
	// as JSON carries them, for json, jsonb and arrays their JSON.
	text string
	// n orders integers, booleans, enums and times (microseconds); of floats it holds the bits.
	n int64
}

var null = value{null: true}

// parse reads a literal, as it stands in a filter, a default or a JSON string. The error is an
// *Error.
func (t *Type) parse(text string) (value, error) {
	switch t.kind {
	case kindInt:
		return t.parseInt(text)
	case kindFloat:
		return t.parseFloat(text)
	case kindNumeric:
		return t.parseNumeric(text)
	case kindBool:
		return t.parseBool(text)
	case kindUUID:
		return t.parseUUID(text)
	case kindJSON, kindJSONB:
		return t.parseDocument(text)
	case kindTimestamptz, kindTimestamp:
		return t.parseTimestamp(text)
	case kindDate:
		return t.parseDate(text)
	case kindTime:
		return t.parseTime(text)
	case kindBytea:
		return t.parseBytea(text)
	case kindEnum:
		i := slices.Index(t.labels, text)
		if i < 0 {
			return null, &Error{Code: "22P02", Message: "invalid input value for enum " + t.name + ": " + Quote(text)}
		}
		return value{text: t.labels[i], n: int64(i)}, nil
	case kindArray:
		return t.parseArray(text)
	}
	return t.parseText(text)
}

// parseJSON reads a value as the body of a request carries it: null is NULL, also for jsonb; a
// string is read as a literal; what else there is by its JSON text. The error is an *Error.
func (t *Type) parseJSON(raw json.RawMessage) (value, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return null, nil
	}
	switch t.kind {
	case kindJSON, kindJSONB:
		return t.parseDocument(string(raw))
	case kindArray:
		if raw[0] == '[' {
			return t.parseJSONArray(raw)
		}
	}
	if raw[0] == '"' {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return null, invalidSyntax(t, string(raw))
		}
		return t.parse(s)
	}
	return t.parse(string(raw))
}

func (t *Type) parseText(text string) (value, error) {
	if strings.IndexByte(text, 0) >= 0 {
		return null, &Error{
			Code:    "22P05",
			Message: "unsupported Unicode escape sequence",
			Details: `\u0000 cannot be converted to text.`,
		}
	}
	if !utf8.ValidString(text) {
		return null, &Error{Code: "22021", Message: `invalid byte sequence for encoding "UTF8"`}
	}
	if t.kind == kindText && t.size > 0 && len(text) > t.size {
		if n := utf8.RuneCountInString(text); n > t.size {
			cut := []rune(text)
			if strings.Trim(string(cut[t.size:]), " ") != "" {
				return null, &Error{
					Code:    "22001",
					Message: "value too long for type " + t.long() + "(" + strconv.Itoa(t.size) + ")",
				}
			}
			text = string(cut[:t.size])
		}
	}
	return value{text: text}, nil
}

func (t *Type) parseInt(text string) (value, error) {
	s := strings.TrimSpace(text)
	n, err := strconv.ParseInt(s, 10, t.size)
	switch {
	case err == nil:
		return value{text: strconv.FormatInt(n, 10), n: n}, nil
	case err.(*strconv.NumError).Err == strconv.ErrRange:
		return null, outOfRange(t, s)
	}
	return null, invalidSyntax(t, text)
}

func (t *Type) parseFloat(text string) (value, error) {
	s := strings.TrimSpace(text)
	if s == "" || strings.ContainsAny(s, "_xX") {
		return null, invalidSyntax(t, text)
	}
	f, err := strconv.ParseFloat(s, t.size)
	if err != nil {
		if err.(*strconv.NumError).Err == strconv.ErrRange {
			return null, outOfRange(t, s)
		}
		return null, invalidSyntax(t, text)
	}
	return value{text: formatFloat(f, t.size), n: int64(math.Float64bits(f))}, nil
}

// formatFloat prints a float as Postgres does: shortest digits, exponent form below 1e-4 and from
// 1e15 (real: 1e6) on.
func formatFloat(f float64, bits int) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case f == 0:
		if math.Signbit(f) {
			return "-0"
		}
		return "0"
	}
	limit := 15
	if bits == 32 {
		limit = 6
	}
	s := strconv.FormatFloat(f, 'e', -1, bits)
	exp, err := strconv.Atoi(s[strings.IndexByte(s, 'e')+1:])
	if err == nil && exp >= -4 && exp < limit {
		return strconv.FormatFloat(f, 'f', -1, bits)
	}
	return s
}

func (t *Type) parseBool(text string) (value, error) {
	s := strings.ToLower(strings.TrimSpace(text))
	if s == "" {
		return null, invalidSyntax(t, text)
	}
	switch {
	case strings.HasPrefix("true", s), strings.HasPrefix("yes", s), s == "on", s == "1":
		return value{text: "true", n: 1}, nil
	case strings.HasPrefix("false", s), strings.HasPrefix("no", s), s == "of", s == "off", s == "0":
		return value{text: "false"}, nil
	}
	return null, invalidSyntax(t, text)
}

// parseUUID takes the forms Postgres takes: upper case, braces, hyphens after any group of four
// digits.
func (t *Type) parseUUID(text string) (value, error) {
	s := text
	if len(s) >= 2 && s[0] == '{' && s[len(s)-1] == '}' {
		s = s[1 : len(s)-1]
	}
	digits := make([]byte, 0, 32)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f':
			digits = append(digits, c)
		case c >= 'A' && c <= 'F':
			digits = append(digits, c+'a'-'A')
		case c == '-' && len(digits) > 0 && len(digits)%4 == 0 && s[i-1] != '-' && i < len(s)-1:
		default:
			return null, invalidSyntax(t, text)
		}
	}
	if len(digits) != 32 {
		return null, invalidSyntax(t, text)
	}
	d := string(digits)
	return value{text: d[:8] + "-" + d[8:12] + "-" + d[12:16] + "-" + d[16:20] + "-" + d[20:]}, nil
}

// parseBytea takes the hex form, and any other text as its bytes with \ as an escape.
func (t *Type) parseBytea(text string) (value, error) {
	if digits, ok := strings.CutPrefix(text, `\x`); ok {
		raw, err := hex.DecodeString(digits)
		if err != nil {
			return null, &Error{Code: "22023", Message: "invalid hexadecimal data"}
		}
		return value{text: `\x` + hex.EncodeToString(raw)}, nil
	}
	raw := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] != '\\':
			raw = append(raw, text[i])
		case strings.HasPrefix(text[i:], `\\`):
			raw = append(raw, '\\')
			i++
		case i+3 < len(text):
			n, err := strconv.ParseUint(text[i+1:i+4], 8, 8)
			if err != nil {
				return null, invalidSyntax(t, text)
			}
			raw = append(raw, byte(n))
			i += 3
		default:
			return null, invalidSyntax(t, text)
		}
	}
	return value{text: `\x` + hex.EncodeToString(raw)}, nil
}

// compare orders two values of the type that are not null.
func (t *Type) compare(a, b value) int {
	switch t.kind {
	case kindInt, kindBool, kindEnum, kindTimestamptz, kindTimestamp, kindDate, kindTime:
		return cmp.Compare(a.n, b.n)
	case kindFloat:
		return compareFloats(math.Float64frombits(uint64(a.n)), math.Float64frombits(uint64(b.n)))
	case kindNumeric:
		return compareNumerics(a.text, b.text)
	case kindJSONB:
		if isNumber(a.text) && isNumber(b.text) {
			return compareNumerics(a.text, b.text)
		}
	}
	return strings.Compare(a.text, b.text)
}

// isNumber tells whether a JSON text is a number.
func isNumber(text string) bool { return text[0] == '-' || text[0] >= '0' && text[0] <= '9' }

// compareFloats orders NaN after everything and equal to itself, as Postgres does.
func compareFloats(a, b float64) int {
	switch an, bn := math.IsNaN(a), math.IsNaN(b); {
	case an && bn:
		return 0
	case an:
		return 1
	case bn:
		return -1
	}
	return cmp.Compare(a, b)
}

// indexKey is a text equal for equal values and different for different ones.
func (t *Type) indexKey(v value) string {
	switch t.kind {
	case kindNumeric:
		return trimNumeric(v.text)
	case kindFloat:
		if v.text == "-0" {
			return "0"
		}
	}
	return v.text
}

// dialect is which of Postgres' two ways of writing a row as JSON is wanted.
type dialect uint8

const (
	// rowToJSON is what PostgREST answers with: json columns verbatim, floats in exponent form where
	// they print so.
	rowToJSON dialect = iota
	// toJSONB is what the log's readers see: json cleaned like jsonb, floats written out.
	toJSONB
)

// appendJSON appends a value as JSON.
func (t *Type) appendJSON(dst []byte, v value, d dialect) []byte {
	if v.null {
		return append(dst, "null"...)
	}
	switch t.kind {
	case kindInt, kindBool, kindJSONB:
		return append(dst, v.text...)
	case kindArray:
		if d == toJSONB && t.elem.kind == kindJSON {
			return append(dst, spaceDocument(v.text)...)
		}
		return append(dst, v.text...)
	case kindNumeric, kindFloat:
		if last := v.text[len(v.text)-1]; last == 'N' || last == 'y' { // NaN, Infinity
			return appendString(dst, v.text)
		}
		if d == toJSONB && t.kind == kindFloat && strings.IndexByte(v.text, 'e') >= 0 {
			return strconv.AppendFloat(dst, math.Float64frombits(uint64(v.n)), 'f', -1, t.size)
		}
		return append(dst, v.text...)
	case kindJSON:
		if d == toJSONB {
			return append(dst, spaceDocument(v.text)...)
		}
		return append(dst, v.text...)
	}
	return appendString(dst, v.text)
}

const hexDigits = "0123456789abcdef"

// appendString appends a JSON string, escaping only what must be, as Postgres does.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(append(dst, s[start:]...), '"')
}
