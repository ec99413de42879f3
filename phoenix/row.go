package phoenix

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// DecodeRow decodes a row's JSON, such as Change.Record, without loss: integers go
// into int64 as they are, and numbers into an any, json.Number or string field as
// json.Number, never through a float. A column the row lacks leaves its field alone; so
// does null, as encoding/json has it, unless the field is a pointer, map, slice or any:
// make nullable columns pointers. Arrays are JSON arrays, json and jsonb what they
// hold; see Bytea and Timestamp for the rest.
func DecodeRow[T any](row json.RawMessage) (T, error) {
	var v T
	err := decodeLossless(row, &v)
	return v, err
}

// Decode decodes Record into dst as DecodeRow does. Decoding an UPDATE onto the row
// as known so far keeps the columns that the change left out.
func (c *Change) Decode(dst any) error { return decodeLossless(c.Record, dst) }

func decodeLossless(raw []byte, dst any) error {
	if len(raw) == 0 {
		return errors.New("realtime: decode row: there is none")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	err := d.Decode(dst)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("text after the value")
		}
	}
	if err != nil {
		return fmt.Errorf("realtime: decode row: %w", err)
	}
	return nil
}

// Value is the raw JSON of one column of Record. ok is false when the record lacks
// the column, which is not the same as null.
func (c *Change) Value(column string) (v json.RawMessage, ok bool) {
	return member(c.Record, column)
}

// OldValue is Value for OldRecord.
func (c *Change) OldValue(column string) (v json.RawMessage, ok bool) {
	return member(c.OldRecord, column)
}

func member(object []byte, key string) (json.RawMessage, bool) {
	for it := wire.WalkObject(object); it.Next(); {
		if string(it.Key) == key {
			return it.Value, true
		}
	}
	return nil, false
}

// Missing lists the columns that the table has and Record lacks: large values that
// an UPDATE did not touch, or that did not fit (see Errors). Their values are
// unknown here; they are not null. Nil for DELETE.
func (c *Change) Missing() []string {
	if c.Record == nil {
		return nil
	}
	var missing []string
	for _, col := range c.Columns {
		if _, ok := c.Value(col.Name); !ok {
			missing = append(missing, col.Name)
		}
	}
	return missing
}

// Bytea is a bytea value. Realtime spells it as bare hex digits, PostgREST with \x
// before them; both are read. It is written with \x.
type Bytea []byte

// UnmarshalJSON reads both spellings; null is a nil Bytea.
func (b *Bytea) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		*b = nil
		return nil
	}
	s, err := wire.Unquote(raw)
	if err != nil {
		return fmt.Errorf("realtime: bytea: %w", err)
	}
	data, err := hex.DecodeString(strings.TrimPrefix(s, `\x`))
	if err != nil {
		return fmt.Errorf("realtime: bytea: %w", err)
	}
	*b = data
	return nil
}

// MarshalJSON writes the spelling PostgREST takes.
func (b Bytea) MarshalJSON() ([]byte, error) {
	if b == nil {
		return []byte("null"), nil
	}
	return []byte(`"\\x` + hex.EncodeToString(b) + `"`), nil
}

// Timestamp is a timestamp, timestamptz or date value to the microsecond, with the
// values Go's time.Time has no room for.
type Timestamp struct {
	// Time is the instant; in UTC when the column has no zone. Zero when Infinite.
	Time time.Time
	// Infinite is +1 for infinity, -1 for -infinity, else 0.
	Infinite int
}

var timestampLayouts = []string{
	"2006-01-02T15:04:05.999999999Z07:00",
	"2006-01-02T15:04:05.999999999-07",
	"2006-01-02T15:04:05.999999999",
	"2006-01-02 15:04:05.999999999Z07:00",
	"2006-01-02 15:04:05.999999999-07",
	"2006-01-02 15:04:05.999999999",
	"2006-01-02",
}

// UnmarshalJSON reads Postgres' spellings, years before Christ included; null
// leaves the value alone.
func (t *Timestamp) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		return nil
	}
	s, err := wire.Unquote(raw)
	if err != nil {
		return fmt.Errorf("realtime: timestamp: %w", err)
	}
	switch s {
	case "infinity":
		*t = Timestamp{Infinite: 1}
		return nil
	case "-infinity":
		*t = Timestamp{Infinite: -1}
		return nil
	}
	// Postgres' years reach from 4713 BC to 294276, those of time.Parse have four digits:
	// what comes after the year is read in a year of the same length.
	text, bc := strings.CutSuffix(s, " BC")
	digits, rest, _ := strings.Cut(text, "-")
	if year, err := strconv.Atoi(digits); err == nil && len(digits) >= 4 {
		if bc {
			year = 1 - year // 1 BC is the year 0
		}
		text = "2001-" + rest
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			text = "2000-" + rest
		}
		for _, layout := range timestampLayouts {
			if at, err := time.Parse(layout, text); err == nil {
				*t = Timestamp{
					Time: time.Date(year, at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), at.Location()),
				}
				return nil
			}
		}
	}
	return fmt.Errorf("realtime: timestamp of %d characters in no spelling of Postgres", len(s))
}

// MarshalJSON writes a spelling that Postgres reads: RFC 3339, years before Christ and
// the infinities included.
func (t Timestamp) MarshalJSON() ([]byte, error) {
	switch {
	case t.Infinite > 0:
		return []byte(`"infinity"`), nil
	case t.Infinite < 0:
		return []byte(`"-infinity"`), nil
	}
	year, era := t.Time.Year(), ""
	if year <= 0 {
		year, era = 1-year, " BC"
	}
	return fmt.Appendf(nil, `"%04d%s%s"`, year, t.Time.Format("-01-02T15:04:05.999999Z07:00"), era), nil
}
