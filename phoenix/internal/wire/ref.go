package wire

import (
	"encoding/json"
	"errors"
)

// Ref is a message reference: what pairs a reply with its push (ref), and a
// message with the join it belongs to (join_ref). It keeps the kind of JSON value
// it was, since a server echoes a number as a number. Refs are comparable; the
// zero Ref is null.
type Ref struct {
	text string // JSON text of a scalar in its canonical spelling; "" is null
}

// StringRef is the ref of a JSON string. StringRef("") is the empty string, not null.
func StringRef(s string) Ref { return Ref{string(AppendString(nil, s))} }

// IsNull reports whether r is JSON null, or was absent.
func (r Ref) IsNull() bool { return r.text == "" }

// Text is the ref without JSON's quotes: the content of a string, the digits of
// a number, "" for null. It is what binary frames carry.
func (r Ref) Text() string {
	if len(r.text) >= 2 && r.text[0] == '"' {
		inner := r.text[1 : len(r.text)-1]
		for i := 0; i < len(inner); i++ {
			if inner[i] == '\\' {
				s, _ := Unquote([]byte(r.text))
				return s
			}
		}
		return inner
	}
	return r.text
}

// String is the JSON text of the ref.
func (r Ref) String() string {
	if r.text == "" {
		return "null"
	}
	return r.text
}

// AppendJSON appends the JSON text of the ref.
func (r Ref) AppendJSON(dst []byte) []byte {
	if r.text == "" {
		return append(dst, "null"...)
	}
	return append(dst, r.text...)
}

var errRef = errors.New("ref is neither a string, a number, a boolean nor null")

// parseRef reads one JSON value already known to be valid.
func parseRef(v []byte) (Ref, error) {
	switch v[0] {
	case 'n':
		return Ref{}, nil
	case '{', '[':
		return Ref{}, errRef
	case '"':
		for _, c := range v {
			if c == '\\' {
				// One spelling for one string, so that refs compare.
				s, err := Unquote(v)
				if err != nil {
					return Ref{}, err
				}
				return StringRef(s), nil
			}
		}
	}
	return Ref{string(v)}, nil
}

// Unquote is the Go string of a JSON string literal, quotes included.
func Unquote(v []byte) (string, error) {
	if len(v) < 2 || v[0] != '"' {
		return "", errors.New("want a JSON string")
	}
	plain := true
	for _, c := range v[1 : len(v)-1] {
		if c == '\\' || c == '"' || c < 0x20 {
			plain = false
			break
		}
	}
	if plain {
		return string(v[1 : len(v)-1]), nil
	}
	var s string
	if err := json.Unmarshal(v, &s); err != nil {
		return "", err
	}
	return s, nil
}

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string literal. Nothing is escaped for HTML;
// bytes that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x80 {
			return appendStringSlow(append(dst, s[start:i]...), s[i:])
		}
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		dst = appendEscaped(dst, c)
		start = i + 1
	}
	return append(append(dst, s[start:]...), '"')
}

// appendStringSlow finishes a literal whose remaining text may hold broken UTF-8.
func appendStringSlow(dst []byte, s string) []byte {
	for _, r := range s {
		if r < 0x20 || r == '"' || r == '\\' {
			dst = appendEscaped(dst, byte(r))
			continue
		}
		dst = append(dst, string(r)...)
	}
	return append(dst, '"')
}

func appendEscaped(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}
