package parser

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
)

// placeholderKey is how an object that stands for an attachment is told from others.
var placeholderKey = []byte(`"_placeholder"`)

// AppendPlaceholder appends the object that stands for attachment n.
func AppendPlaceholder(b []byte, n int) []byte {
	b = append(b, `{"_placeholder":true,"num":`...)
	b = strconv.AppendInt(b, int64(n), 10)
	return append(b, '}')
}

// Placeholder returns the number of the attachment that the JSON value a stands for, and false if
// it stands for none.
func Placeholder(a json.RawMessage) (int, bool) {
	if len(a) == 0 || a[0] != '{' || !bytes.Contains(a, placeholderKey) {
		return 0, false
	}
	var v struct {
		Placeholder json.RawMessage `json:"_placeholder"`
		Num         json.RawMessage `json:"num"`
	}
	if json.Unmarshal(a, &v) != nil || string(v.Placeholder) != "true" {
		return 0, false
	}
	n, err := strconv.Atoi(string(v.Num))
	if err != nil || n < 0 {
		return -1, true
	}
	return n, true
}

// checkPlaceholders reports a placeholder in a, at any depth, that names none of n attachments.
func checkPlaceholders(a json.RawMessage, n int) error {
	if !bytes.Contains(a, placeholderKey) {
		return nil
	}
	_, err := substitute(nil, a, func(dst []byte, num int) ([]byte, error) {
		if num < 0 || num >= n {
			return nil, fmt.Errorf("%w: illegal attachments", ErrSyntax)
		}
		return dst, nil
	})
	return err
}

// Inline returns the JSON value a with every placeholder, at any depth, replaced by its attachment
// as a base64 string, which is the form in which encoding/json expects a []byte. Without
// attachments a is returned as it is.
func Inline(a json.RawMessage, attachments [][]byte) (json.RawMessage, error) {
	if len(attachments) == 0 || !bytes.Contains(a, placeholderKey) {
		return a, nil
	}
	return substitute(nil, a, func(dst []byte, num int) ([]byte, error) {
		if num < 0 || num >= len(attachments) {
			return nil, fmt.Errorf("%w: illegal attachments", ErrSyntax)
		}
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, attachments[num])
		return append(dst, '"'), nil
	})
}

// Renumber appends a to dst with shift added to the number of every placeholder: so values of
// several packets go into one.
func Renumber(dst []byte, a json.RawMessage, shift int) ([]byte, error) {
	return substitute(dst, a, func(dst []byte, num int) ([]byte, error) {
		return AppendPlaceholder(dst, num+shift), nil
	})
}

// substitute appends the valid JSON value a to dst, with each placeholder replaced by what f
// appends.
func substitute(dst []byte, a []byte, f func([]byte, int) ([]byte, error)) ([]byte, error) {
	i := 0
	for i < len(a) {
		switch a[i] {
		case '"':
			end := skipString(a, i)
			if end < 0 {
				return nil, fmt.Errorf("%w: payload is not valid JSON", ErrSyntax)
			}
			dst = append(dst, a[i:end]...)
			i = end
		case '{':
			if n, size := placeholderAt(a[i:]); size > 0 {
				var err error
				if dst, err = f(dst, n); err != nil {
					return nil, err
				}
				i += size
				continue
			}
			dst = append(dst, '{')
			i++
		default:
			dst = append(dst, a[i])
			i++
		}
	}
	return dst, nil
}

// maxPlaceholder is more bytes than a placeholder has in any reasonable spelling.
const maxPlaceholder = 128

// placeholderAt returns the number and the length of the placeholder that a starts with; the length
// is 0 if it doesn't.
func placeholderAt(a []byte) (num, size int) {
	end := bytes.IndexByte(a[:min(len(a), maxPlaceholder)], '}')
	if end < 0 {
		return 0, 0
	}
	num, ok := Placeholder(a[:end+1])
	if !ok {
		return 0, 0
	}
	return num, end + 1
}
