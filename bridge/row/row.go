// Package row reads rows as Supabase sends them, JSON objects of columns, without decoding what
// nobody asks for: values are slices of the record's own bytes, so numbers keep their digits and
// what is sent on is what came.
//
//	r, err := row.Parse(record)
//	id := r.Text("id")
//
// A Row may be read from any number of goroutines; neither it nor its record is ever changed.
package row

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"
)

// Row is a record taken apart. The zero Row has no columns.
type Row struct {
	// Record is the row as it came.
	Record json.RawMessage
	// Columns are its columns, in the order they came.
	Columns []Column
}

// Column is a column and the JSON text of its value.
type Column struct {
	Name  string
	Value json.RawMessage
}

var errNoObject = errors.New("row: not a JSON object")

// Parse takes a record apart. It fails where the record is not a JSON object.
func Parse(record json.RawMessage) (Row, error) {
	if !json.Valid(record) {
		return Row{}, errNoObject
	}
	s := scanner{text: record}
	s.space()
	if s.next() != '{' {
		return Row{}, errNoObject
	}
	r := Row{Record: record, Columns: make([]Column, 0, bytes.Count(record, []byte(`":`))+1)}
	s.space()
	if s.peek() == '}' {
		return r, nil
	}
	for {
		s.space()
		raw := s.value()
		name, err := nameOf(raw)
		if err != nil {
			return Row{}, fmt.Errorf("row: name of a column: %w", err)
		}
		s.space()
		s.next() // the colon
		s.space()
		r.Columns = append(r.Columns, Column{name, s.value()})
		s.space()
		if s.next() == '}' {
			return r, nil
		}
	}
}

// Get gives the value of a column; nil where the row does not have it.
func (r Row) Get(name string) json.RawMessage {
	for _, c := range r.Columns {
		if c.Name == name {
			return c.Value
		}
	}
	return nil
}

// Has tells whether the row has a column, be it null.
func (r Row) Has(name string) bool { return r.Get(name) != nil }

// Text gives the text of a string, number or boolean; "" for null, for what is composed, and for a
// column that is not there or has no name.
func (r Row) Text(name string) string {
	if name == "" {
		return ""
	}
	return Text(r.Get(name))
}

// Text gives a scalar's text likewise.
func Text(value json.RawMessage) string {
	if len(value) == 0 {
		return ""
	}
	switch value[0] {
	case 'n', '{', '[':
		return ""
	case '"':
		text, err := unquote(value)
		if err != nil {
			return ""
		}
		return text
	}
	return string(value)
}

// nameOf gives the text of a name.
func nameOf(quoted []byte) (string, error) {
	if isPlain(quoted) {
		return intern(quoted[1 : len(quoted)-1]), nil
	}
	return unquote(quoted)
}

// isPlain tells whether a JSON string is its own text.
func isPlain(quoted []byte) bool {
	return len(quoted) >= 2 && quoted[0] == '"' && bytes.IndexByte(quoted, '\\') < 0 && isASCII(quoted)
}

// unquote gives the text of a JSON string.
func unquote(quoted []byte) (string, error) {
	if isPlain(quoted) {
		return string(quoted[1 : len(quoted)-1]), nil
	}
	var text string
	err := json.Unmarshal(quoted, &text)
	return text, err
}

func isASCII(text []byte) bool {
	for _, c := range text {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// scanner walks over valid JSON.
type scanner struct {
	text []byte
	at   int
}

func (s *scanner) peek() byte { return s.text[s.at] }

func (s *scanner) next() byte {
	c := s.text[s.at]
	s.at++
	return c
}

func (s *scanner) space() {
	for s.at < len(s.text) && (s.text[s.at] == ' ' || s.text[s.at] == '\n' || s.text[s.at] == '\t' ||
		s.text[s.at] == '\r') {
		s.at++
	}
}

// value passes over one value and gives its text.
func (s *scanner) value() []byte {
	begin := s.at
	switch s.peek() {
	case '"':
		s.string()
	case '{', '[':
		s.composed()
	default:
		for s.at < len(s.text) && strings.IndexByte(",}] \n\t\r", s.text[s.at]) < 0 {
			s.at++
		}
	}
	return s.text[begin:s.at:s.at]
}

// composed passes over an object or a list.
func (s *scanner) composed() {
	for depth := 0; ; {
		switch s.peek() {
		case '"':
			s.string()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		s.at++
		if depth == 0 {
			return
		}
	}
}

// string passes over a string.
func (s *scanner) string() {
	for s.at++; s.text[s.at] != '"'; s.at++ {
		if s.text[s.at] == '\\' {
			s.at++
		}
	}
	s.at++
}

// layouts are PostgreSQL's timestamptz and timestamp as JSON has them; a missing zone is taken for
// UTC, and fractions of any length are read.
var layouts = []string{
	time.RFC3339Nano,
	"2006-01-02T15:04:05",
	"2006-01-02 15:04:05Z07:00",
	"2006-01-02 15:04:05Z07",
	"2006-01-02 15:04:05",
	"2006-01-02T15:04:05Z07",
}

// Time reads a timestamp as PostgreSQL writes it in JSON; the zero time for what is none, such as
// infinity.
func Time(text string) time.Time {
	if text == "" {
		return time.Time{}
	}
	for _, layout := range layouts {
		if at, err := time.Parse(layout, text); err == nil {
			return at
		}
	}
	return time.Time{}
}

// Timestamp writes a time so that PostgreSQL reads it, with microseconds.
func Timestamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.999999-07:00") }

var seed = maphash.MakeSeed()

// instant reads a JSON string as a timestamp, where it looks like one.
func instant(value []byte) (time.Time, bool) {
	const shape = `"0000-00-00T00:00:00`
	if len(value) < len(shape)+1 || len(value) > len(shape)+20 {
		return time.Time{}, false
	}
	for i := range len(shape) {
		switch c := value[i]; shape[i] {
		case '0':
			if c < '0' || c > '9' {
				return time.Time{}, false
			}
		case 'T':
			if c != 'T' && c != ' ' {
				return time.Time{}, false
			}
		default:
			if c != shape[i] {
				return time.Time{}, false
			}
		}
	}
	at := Time(string(value[1 : len(value)-1]))
	return at, !at.IsZero()
}

// Digest is equal for rows with the same columns and values, however their JSON is spaced and
// ordered: Realtime and PostgREST write it differently. So do they write timestamps, each in the
// time zone of its own session: texts of one instant count as equal. It holds within one process.
func (r Row) Digest() uint64 {
	columns := slices.Clone(r.Columns)
	slices.SortFunc(columns, func(a, b Column) int { return strings.Compare(a.Name, b.Name) })
	var h maphash.Hash
	h.SetSeed(seed)
	for _, c := range columns {
		h.WriteString(c.Name)
		h.WriteByte(0)
		value := c.Value
		if len(value) > 0 && (value[0] == '{' || value[0] == '[') {
			var compact bytes.Buffer
			if json.Compact(&compact, value) == nil {
				value = compact.Bytes()
			}
		}
		if hex, ok := bytes.CutPrefix(value, []byte(`"\\x`)); ok { // bytea: PostgREST has \x in front, Realtime has not
			h.WriteByte('"')
			value = hex
		}
		if at, ok := instant(value); ok {
			var digits [8]byte
			binary.LittleEndian.PutUint64(digits[:], uint64(at.UnixMicro()))
			value = digits[:]
		}
		h.Write(value)
		h.WriteByte(0)
	}
	return h.Sum64()
}
