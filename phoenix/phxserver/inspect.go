package phxserver

import (
	"encoding/json"
	"strings"
)

// inspect prints a decoded JSON value as Elixir prints the term, for the error
// texts that quote what the client sent.
func inspect(v any) string {
	var b strings.Builder
	inspectInto(&b, v)
	return b.String()
}

func inspectInto(b *strings.Builder, v any) {
	switch v := v.(type) {
	case nil:
		b.WriteString("nil")
	case bool:
		if v {
			b.WriteString("true")
		} else {
			b.WriteString("false")
		}
	case json.Number:
		b.WriteString(string(v))
	case string:
		inspectString(b, v)
	case []any:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			inspectInto(b, e)
		}
		b.WriteByte(']')
	case map[string]any:
		b.WriteString("%{")
		for i, k := range sortedKeys(v) {
			if i > 0 {
				b.WriteString(", ")
			}
			inspectString(b, k)
			b.WriteString(" => ")
			inspectInto(b, v[k])
		}
		b.WriteByte('}')
	}
}

func inspectString(b *strings.Builder, s string) {
	b.WriteByte('"')
	for i, r := range s {
		switch r {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case '\n':
			b.WriteString(`\n`)
		case '\t':
			b.WriteString(`\t`)
		case '\r':
			b.WriteString(`\r`)
		case '#':
			if strings.HasPrefix(s[i+1:], "{") {
				b.WriteByte('\\')
			}
			b.WriteByte('#')
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}

// inspectStrings prints a list of strings.
func inspectStrings(list []string) string {
	terms := make([]any, len(list))
	for i, s := range list {
		terms[i] = s
	}
	return inspect(terms)
}
