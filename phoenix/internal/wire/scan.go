package wire

import (
	"errors"
	"fmt"
)

// maxDepth bounds the nesting of JSON values. encoding/json has the same bound, so
// what passes here can be decoded there.
const maxDepth = 10000

var errDepth = errors.New("JSON nested too deep")

// syntaxError tells where a frame stops being JSON, without quoting it: frames
// carry message bodies, and errors are logged.
func syntaxError(at int) error { return fmt.Errorf("not JSON at byte %d", at) }

// skipSpace is the index of the first byte at or after i that is not JSON white space.
func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// endOfValue is the index just past the JSON value that starts at b[i], which must
// not be white space. The value is checked in full against RFC 8259, except that
// string contents are not checked to be UTF-8.
func endOfValue(b []byte, i int) (int, error) { return skipValue(b, i, 0) }

func skipValue(b []byte, i, depth int) (int, error) {
	if i >= len(b) {
		return i, syntaxError(i)
	}
	switch c := b[i]; {
	case c == '"':
		return skipString(b, i)
	case c == '{':
		if depth >= maxDepth {
			return i, errDepth
		}
		return skipObject(b, i, depth+1)
	case c == '[':
		if depth >= maxDepth {
			return i, errDepth
		}
		return skipArray(b, i, depth+1)
	case c == '-' || c >= '0' && c <= '9':
		return skipNumber(b, i)
	case c == 't':
		return skipWord(b, i, "true")
	case c == 'f':
		return skipWord(b, i, "false")
	case c == 'n':
		return skipWord(b, i, "null")
	}
	return i, syntaxError(i)
}

func skipWord(b []byte, i int, word string) (int, error) {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return i, syntaxError(i)
	}
	return i + len(word), nil
}

// plain marks the bytes that stand for themselves within a string.
var plain = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= 0x20 && c != '"' && c != '\\'
	}
	return t
}()

func skipString(b []byte, i int) (int, error) {
	for i++; i < len(b); i++ {
		if plain[b[i]] {
			continue
		}
		switch b[i] {
		case '"':
			return i + 1, nil
		case '\\':
			if i = skipEscape(b, i); i < 0 {
				return len(b), syntaxError(len(b))
			}
		default:
			return i, syntaxError(i)
		}
	}
	return i, syntaxError(i)
}

// skipEscape is the index of the last byte of the escape sequence at b[i], negative
// when it is none.
func skipEscape(b []byte, i int) int {
	if i+1 >= len(b) {
		return -1
	}
	switch b[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		if len(b)-i < 6 {
			return -1
		}
		for _, h := range b[i+2 : i+6] {
			if !(h >= '0' && h <= '9' || h >= 'a' && h <= 'f' || h >= 'A' && h <= 'F') {
				return -1
			}
		}
		return i + 5
	}
	return -1
}

func skipDigits(b []byte, i int) (int, error) {
	start := i
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	if i == start {
		return i, syntaxError(i)
	}
	return i, nil
}

func skipNumber(b []byte, i int) (int, error) {
	if b[i] == '-' {
		i++
	}
	var err error
	if i < len(b) && b[i] == '0' {
		i++
	} else if i, err = skipDigits(b, i); err != nil {
		return i, err
	}
	if i < len(b) && b[i] == '.' {
		if i, err = skipDigits(b, i+1); err != nil {
			return i, err
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		return skipDigits(b, i)
	}
	return i, nil
}

func skipArray(b []byte, i, depth int) (int, error) {
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == ']' {
		return i + 1, nil
	}
	for {
		var err error
		if i, err = skipValue(b, i, depth); err != nil {
			return i, err
		}
		i = skipSpace(b, i)
		if i >= len(b) {
			return i, syntaxError(i)
		}
		switch b[i] {
		case ']':
			return i + 1, nil
		case ',':
			i = skipSpace(b, i+1)
		default:
			return i, syntaxError(i)
		}
	}
}

func skipObject(b []byte, i, depth int) (int, error) {
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1, nil
	}
	for {
		if i >= len(b) || b[i] != '"' {
			return i, syntaxError(i)
		}
		var err error
		if i, err = skipString(b, i); err != nil {
			return i, err
		}
		i = skipSpace(b, i)
		if i >= len(b) || b[i] != ':' {
			return i, syntaxError(i)
		}
		if i, err = skipValue(b, skipSpace(b, i+1), depth); err != nil {
			return i, err
		}
		i = skipSpace(b, i)
		if i >= len(b) {
			return i, syntaxError(i)
		}
		switch b[i] {
		case '}':
			return i + 1, nil
		case ',':
			i = skipSpace(b, i+1)
		default:
			return i, syntaxError(i)
		}
	}
}

// Valid reports whether b is exactly one JSON value, white space around it allowed.
func Valid(b []byte) bool {
	i, err := endOfValue(b, skipSpace(b, 0))
	return err == nil && skipSpace(b, i) == len(b)
}

// Members walks the members of one JSON object without allocating.
//
//	for it := wire.WalkObject(payload); it.Next(); {
//		switch string(it.Key) { case "ids": … it.Value … }
//	}
//
// A value that is no object yields no members. Keys spelled with escapes come out
// unescaped. Err tells whether the walk stopped early on a syntax error.
type Members struct {
	Key, Value []byte // alias the object, except keys that had escapes
	b          []byte
	i          int
	err        error
}

// WalkObject starts a walk over the object in b.
func WalkObject(b []byte) Members {
	i := skipSpace(b, 0)
	if i >= len(b) || b[i] != '{' {
		return Members{err: errors.New("not a JSON object")}
	}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == '}' {
		return Members{}
	}
	return Members{b: b, i: i}
}

// Next advances to the next member.
func (m *Members) Next() bool {
	if m.b == nil {
		return false
	}
	if m.i >= len(m.b) || m.b[m.i] != '"' {
		return m.stop(syntaxError(m.i))
	}
	end, err := skipString(m.b, m.i)
	if err != nil {
		return m.stop(err)
	}
	m.Key = m.b[m.i+1 : end-1]
	for _, c := range m.Key {
		if c == '\\' {
			s, err := Unquote(m.b[m.i:end])
			if err != nil {
				return m.stop(err)
			}
			m.Key = []byte(s)
			break
		}
	}
	i := skipSpace(m.b, end)
	if i >= len(m.b) || m.b[i] != ':' {
		return m.stop(syntaxError(i))
	}
	i = skipSpace(m.b, i+1)
	end, err = endOfValue(m.b, i)
	if err != nil {
		return m.stop(err)
	}
	m.Value = m.b[i:end]
	i = skipSpace(m.b, end)
	switch {
	case i < len(m.b) && m.b[i] == ',':
		m.i = skipSpace(m.b, i+1)
	case i < len(m.b) && m.b[i] == '}':
		m.b = nil
	default:
		return m.stop(syntaxError(i))
	}
	return true
}

func (m *Members) stop(err error) bool {
	m.err, m.b = err, nil
	return false
}

// Err is the error that ended the walk, nil at the object's regular end.
func (m *Members) Err() error { return m.err }

// Elements walks the elements of one JSON array without allocating, as Members
// does an object's.
type Elements struct {
	Value []byte // aliases the array
	b     []byte
	i     int
	err   error
}

// WalkArray starts a walk over the array in b.
func WalkArray(b []byte) Elements {
	i := skipSpace(b, 0)
	if i >= len(b) || b[i] != '[' {
		return Elements{err: errors.New("not a JSON array")}
	}
	i = skipSpace(b, i+1)
	if i < len(b) && b[i] == ']' {
		return Elements{}
	}
	return Elements{b: b, i: i}
}

// Next advances to the next element.
func (e *Elements) Next() bool {
	if e.b == nil {
		return false
	}
	end, err := endOfValue(e.b, e.i)
	if err != nil {
		return e.stop(err)
	}
	e.Value = e.b[e.i:end]
	i := skipSpace(e.b, end)
	switch {
	case i < len(e.b) && e.b[i] == ',':
		e.i = skipSpace(e.b, i+1)
	case i < len(e.b) && e.b[i] == ']':
		e.b = nil
	default:
		return e.stop(syntaxError(i))
	}
	return true
}

func (e *Elements) stop(err error) bool {
	e.err, e.b = err, nil
	return false
}

// Err is the error that ended the walk, nil at the array's regular end.
func (e *Elements) Err() error { return e.err }
