package sql

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
)

// Bounds of json, jsonb and arrays: how deep they may nest, and how long the canonical form, with
// its numbers written out, may be.
const (
	maxDocumentDepth = 512
	maxDocumentBytes = 16 << 20
)

var (
	errDocumentTooLong = errors.New("the document is too long")
	errArrayTooLong    = &Error{Code: "54000", Message: "array size exceeds the maximum allowed"}
)

// parseDocument reads json, kept as it is written, or jsonb, brought into its canonical form.
func (t *Type) parseDocument(text string) (value, error) {
	canonical, err := canonicalDocument(text)
	if err != nil {
		return null, &Error{Code: "22P02", Message: "invalid input syntax for type " + t.name, Details: err.Error()}
	}
	if t.kind == kindJSON {
		return value{text: strings.TrimSpace(text)}, nil
	}
	return value{text: canonical}, nil
}

// spaceDocument is the canonical form of a document known to be valid.
func spaceDocument(text string) string {
	canonical, err := canonicalDocument(text)
	if err != nil {
		return text
	}
	return canonical
}

// canonicalDocument writes a JSON text as jsonb prints it: keys sorted by length, then bytes, the
// last of equal keys kept, a space after each comma and colon, numbers without exponent.
func canonicalDocument(text string) (string, error) {
	c := canonicalizer{d: json.NewDecoder(strings.NewReader(text))}
	c.d.UseNumber()
	out, err := c.value(make([]byte, 0, len(text)+16), 0)
	if err != nil {
		return "", err
	}
	if _, err := c.d.Token(); !errors.Is(err, io.EOF) {
		return "", errors.New("something follows the document")
	}
	return string(out), nil
}

// canonicalizer reads one document and writes its canonical form.
type canonicalizer struct {
	d      *json.Decoder
	digits int // bytes of numbers written so far
}

func (c *canonicalizer) value(dst []byte, depth int) ([]byte, error) {
	if depth > maxDocumentDepth {
		return nil, errors.New("the document nests too deep")
	}
	token, err := c.d.Token()
	if err != nil {
		return nil, errors.New("the document is no valid JSON")
	}
	switch v := token.(type) {
	case json.Delim:
		switch v {
		case '[':
			return c.array(dst, depth)
		case '{':
			return c.object(dst, depth)
		}
	case json.Number:
		return c.number(dst, string(v))
	case string:
		if strings.IndexByte(v, 0) >= 0 {
			return nil, errors.New(`\u0000 cannot be converted to text`)
		}
		return appendString(dst, v), nil
	case bool:
		if v {
			return append(dst, "true"...), nil
		}
		return append(dst, "false"...), nil
	case nil:
		return append(dst, "null"...), nil
	}
	return nil, errors.New("the document is no valid JSON")
}

func (c *canonicalizer) array(dst []byte, depth int) ([]byte, error) {
	dst = append(dst, '[')
	for first := true; c.d.More(); first = false {
		if !first {
			dst = append(dst, ", "...)
		}
		var err error
		if dst, err = c.value(dst, depth+1); err != nil {
			return nil, err
		}
	}
	return c.end(dst, ']')
}

func (c *canonicalizer) object(dst []byte, depth int) ([]byte, error) {
	type member struct {
		key  string
		text []byte
	}
	var members []member
	seen := map[string]int{}
	for c.d.More() {
		token, err := c.d.Token()
		if err != nil {
			return nil, errors.New("the document is no valid JSON")
		}
		key, _ := token.(string)
		text, err := c.value(nil, depth+1)
		if err != nil {
			return nil, err
		}
		if i, ok := seen[key]; ok {
			members[i].text = text
			continue
		}
		seen[key] = len(members)
		members = append(members, member{key, text})
	}
	slices.SortFunc(members, func(a, b member) int {
		if byLength := cmp.Compare(len(a.key), len(b.key)); byLength != 0 {
			return byLength
		}
		return strings.Compare(a.key, b.key)
	})
	dst = append(dst, '{')
	for i, m := range members {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(append(append(appendString(dst, m.key), ':'), ' '), m.text...)
	}
	return c.end(dst, '}')
}

func (c *canonicalizer) end(dst []byte, mark byte) ([]byte, error) {
	if _, err := c.d.Token(); err != nil {
		return nil, errors.New("the document is no valid JSON")
	}
	return append(dst, mark), nil
}

func (c *canonicalizer) number(dst []byte, text string) ([]byte, error) {
	negative, whole, fraction, ok := splitDecimal(text)
	if !ok || len(whole) > maxNumericWhole || len(fraction) > maxNumericFraction {
		return nil, errors.New("a number is out of range")
	}
	if c.digits += len(whole) + len(fraction); c.digits > maxDocumentBytes {
		return nil, errDocumentTooLong
	}
	if negative && strings.Trim(whole+fraction, "0") != "" {
		dst = append(dst, '-')
	}
	if whole == "" {
		whole = "0"
	}
	dst = append(dst, whole...)
	if fraction != "" {
		dst = append(append(dst, '.'), fraction...)
	}
	return dst, nil
}

// parseJSONArray reads an array column from a JSON array, of any number of dimensions.
func (t *Type) parseJSONArray(raw json.RawMessage) (value, error) {
	out, err := t.appendElements(make([]byte, 0, len(raw)), raw, 0)
	if err != nil {
		return null, err
	}
	return value{text: string(out)}, nil
}

func (t *Type) appendElements(dst []byte, raw json.RawMessage, depth int) ([]byte, error) {
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil || depth > 6 {
		return nil, &Error{Code: "22P02", Message: "malformed array literal: " + Quote(string(raw))}
	}
	dst = append(dst, '[')
	for i, item := range items {
		if i > 0 {
			dst = append(dst, ',')
		}
		item = bytes.TrimSpace(item)
		if len(item) > 0 && item[0] == '[' && t.elem.kind != kindJSON && t.elem.kind != kindJSONB {
			var err error
			if dst, err = t.appendElements(dst, item, depth+1); err != nil {
				return nil, err
			}
			continue
		}
		v, err := t.elem.parseJSON(item)
		if err != nil {
			return nil, err
		}
		dst = t.elem.appendJSON(dst, v, rowToJSON)
		if len(dst) > maxDocumentBytes {
			return nil, errArrayTooLong
		}
	}
	return append(dst, ']'), nil
}

// parseArray reads Postgres' array literal, {1,NULL,"a b"}.
func (t *Type) parseArray(text string) (value, error) {
	p := arrayParser{typ: t, text: text, rest: strings.TrimSpace(text)}
	out, err := p.array(make([]byte, 0, len(text)), 0)
	if err == nil && strings.TrimSpace(p.rest) != "" {
		err = p.malformed("Junk after closing right brace.")
	}
	if err != nil {
		return null, err
	}
	return value{text: string(out)}, nil
}

// arrayParser reads one array literal.
type arrayParser struct {
	typ  *Type
	text string // the whole of it
	rest string
}

// What Postgres says of array literals it can't read.
const (
	noBrace      = `Array value must start with "{" or dimension information.`
	wrongElement = "Unexpected array element."
	earlyEnd     = "Unexpected end of input."
)

func (p *arrayParser) malformed(details string) *Error {
	return &Error{Code: "22P02", Message: "malformed array literal: " + Quote(p.text), Details: details}
}

func (p *arrayParser) array(dst []byte, depth int) ([]byte, error) {
	if !strings.HasPrefix(p.rest, "{") || depth > 6 {
		return nil, p.malformed(noBrace)
	}
	p.rest = strings.TrimLeft(p.rest[1:], " ")
	dst = append(dst, '[')
	if strings.HasPrefix(p.rest, "}") {
		p.rest = p.rest[1:]
		return append(dst, ']'), nil
	}
	for {
		var err error
		if strings.HasPrefix(p.rest, "{") {
			dst, err = p.array(dst, depth+1)
		} else {
			dst, err = p.element(dst)
		}
		if err != nil {
			return nil, err
		}
		p.rest = strings.TrimLeft(p.rest, " ")
		if p.rest == "" {
			return nil, p.malformed(earlyEnd)
		}
		end := p.rest[0]
		p.rest = strings.TrimLeft(p.rest[1:], " ")
		switch end {
		case ',':
			dst = append(dst, ',')
		case '}':
			return append(dst, ']'), nil
		default:
			return nil, p.malformed(wrongElement)
		}
	}
}

func (p *arrayParser) element(dst []byte) ([]byte, error) {
	text, quoted, err := p.scan()
	if err != nil {
		return nil, err
	}
	if !quoted && strings.EqualFold(text, "null") {
		return append(dst, "null"...), nil
	}
	v, err := p.typ.elem.parse(text)
	if err == nil && len(dst) > maxDocumentBytes {
		err = errArrayTooLong
	}
	if err != nil {
		return nil, err
	}
	return p.typ.elem.appendJSON(dst, v, rowToJSON), nil
}

// scan cuts the next element off, unquoted.
func (p *arrayParser) scan() (text string, quoted bool, err error) {
	var b strings.Builder
	i := 0
	if strings.HasPrefix(p.rest, `"`) {
		quoted = true
		i = 1
	}
	for ; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '\\' && i+1 < len(p.rest):
			i++
			b.WriteByte(p.rest[i])
		case quoted && c == '"':
			p.rest = p.rest[i+1:]
			return b.String(), true, nil
		case !quoted && (c == ',' || c == '}'):
			p.rest = p.rest[i:]
			text = strings.TrimRight(b.String(), " ")
			if text == "" {
				return "", false, p.malformed(wrongElement)
			}
			return text, false, nil
		case !quoted && (c == '{' || c == '"'):
			return "", false, p.malformed(wrongElement)
		default:
			b.WriteByte(c)
		}
	}
	return "", false, p.malformed(earlyEnd)
}
