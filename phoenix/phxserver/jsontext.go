package phxserver

import (
	"bytes"
	"encoding/json"
	"io"
	"sort"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// decodeJSON decodes one JSON value, numbers kept as text.
func decodeJSON(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errTrailing
	}
	return v, nil
}

var errTrailing = &json.SyntaxError{}

// appendJSON appends a decoded value compactly with sorted keys, as the server
// re-encodes what clients send.
func appendJSON(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...)
	case bool:
		if v {
			return append(dst, "true"...)
		}
		return append(dst, "false"...)
	case json.Number:
		return append(dst, v...)
	case string:
		return wire.AppendString(dst, v)
	case []any:
		dst = append(dst, '[')
		for i, e := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendJSON(dst, e)
		}
		return append(dst, ']')
	case map[string]any:
		dst = append(dst, '{')
		dst = appendMembers(dst, v)
		return append(dst, '}')
	}
	return dst
}

// appendMembers appends the members of an object without its braces.
func appendMembers(dst []byte, m map[string]any) []byte {
	for i, k := range sortedKeys(m) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(wire.AppendString(dst, k), ':')
		dst = appendJSON(dst, m[k])
	}
	return dst
}

// sortJSONBKeys orders keys as jsonb stores them: by length, then by bytes.
func sortJSONBKeys(keys []string) {
	sort.Slice(keys, func(i, j int) bool {
		if len(keys[i]) != len(keys[j]) {
			return len(keys[i]) < len(keys[j])
		}
		return keys[i] < keys[j]
	})
}

// appendJSONB appends a decoded value as Postgres prints jsonb: a space after
// each comma and colon, keys in jsonb's order.
func appendJSONB(dst []byte, v any) []byte {
	switch v := v.(type) {
	case []any:
		dst = append(dst, '[')
		for i, e := range v {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = appendJSONB(dst, e)
		}
		return append(dst, ']')
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sortJSONBKeys(keys)
		dst = append(dst, '{')
		for i, k := range keys {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = append(wire.AppendString(dst, k), ": "...)
			dst = appendJSONB(dst, v[k])
		}
		return append(dst, '}')
	}
	return appendJSON(dst, v)
}
