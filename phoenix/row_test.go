package phoenix

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRowsDecodeWithoutLoss(t *testing.T) {
	type row struct {
		ID      int64           `json:"id"`
		Amount  json.Number     `json:"amount"`
		Any     any             `json:"any"`
		Doc     json.RawMessage `json:"doc"`
		Tags    []*string       `json:"tags"`
		Data    Bytea           `json:"data"`
		At      Timestamp       `json:"at"`
		Body    *string         `json:"body"`
		Missing string          `json:"missing"`
	}
	raw := json.RawMessage(`{"id": 9223372036854775807, "amount": 12345678901234567890.123456789012345, "any": 9007199254740993, "doc": {"a": [1, {"b": null}]}, "tags": ["x", null], "data": "deadBEEF", "at": "2026-03-04T03:06:07.123456+00:00", "body": null}`)
	got, err := DecodeRow[row](raw)
	if err != nil {
		t.Fatal(err)
	}
	x := "x"
	want := row{ID: 9223372036854775807, Amount: "12345678901234567890.123456789012345", Any: json.Number("9007199254740993"), Doc: json.RawMessage(`{"a": [1, {"b": null}]}`),
		Tags: []*string{&x, nil}, Data: Bytea{0xde, 0xad, 0xbe, 0xef}, At: Timestamp{Time: got.At.Time}}
	if !reflect.DeepEqual(got, want) || !got.At.Time.Equal(time.Date(2026, 3, 4, 3, 6, 7, 123456e3, time.UTC)) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	for _, bad := range []string{``, `{"id": 1.5}`, `{} {}`, `[`} {
		if _, err := DecodeRow[row](json.RawMessage(bad)); err == nil {
			t.Errorf("%q decoded", bad)
		}
	}
}

func TestAMissingColumnIsNotNull(t *testing.T) {
	c := &Change{Type: Update, Record: json.RawMessage(`{"id": 1, "status": null}`), OldRecord: json.RawMessage(`{"id": 1}`),
		Columns: []Column{{"id", "int8"}, {"body", "text"}, {"status", "text"}}}
	if got := c.Missing(); !slices.Equal(got, []string{"body"}) {
		t.Errorf("missing %v", got)
	}
	if v, ok := c.Value("status"); !ok || string(v) != "null" {
		t.Errorf("status %s, %v", v, ok)
	}
	if v, ok := c.Value("body"); ok {
		t.Errorf("body %s", v)
	}
	if v, ok := c.OldValue("id"); !ok || string(v) != "1" {
		t.Errorf("old id %s, %v", v, ok)
	}
	known := struct{ Body, Status *string }{Body: new(string)}
	*known.Body = "kept"
	if err := c.Decode(&known); err != nil || known.Body == nil || *known.Body != "kept" || known.Status != nil {
		t.Errorf("%+v, %v", known, err)
	}
}

func TestTimestampReadsWhatPostgresWrites(t *testing.T) {
	for in, want := range map[string]Timestamp{
		`"2026-03-04T03:06:07.123456+00:00"`: {Time: time.Date(2026, 3, 4, 3, 6, 7, 123456e3, time.UTC)},
		`"2026-03-04T03:06:07+05:30"`:        {Time: time.Date(2026, 3, 3, 21, 36, 7, 0, time.UTC)},
		`"2026-03-04T03:06:07"`:              {Time: time.Date(2026, 3, 4, 3, 6, 7, 0, time.UTC)},
		`"2026-03-04 03:06:07.5+00"`:         {Time: time.Date(2026, 3, 4, 3, 6, 7, 5e8, time.UTC)},
		`"2026-03-04"`:                       {Time: time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)},
		`"infinity"`:                         {Infinite: 1},
		`"-infinity"`:                        {Infinite: -1},
		`"0044-03-15 BC"`:                    {Time: time.Date(-43, 3, 15, 0, 0, 0, 0, time.UTC)},
		`"0001-02-29 BC"`:                    {Time: time.Date(0, 2, 29, 0, 0, 0, 0, time.UTC)},
		`"12345-01-02T00:00:00"`:             {Time: time.Date(12345, 1, 2, 0, 0, 0, 0, time.UTC)},
		`null`:                               {},
	} {
		var got Timestamp
		if err := json.Unmarshal([]byte(in), &got); err != nil || !got.Time.Equal(want.Time) || got.Infinite != want.Infinite {
			t.Errorf("%s: %+v, %v; want %+v", in, got, err, want)
		}
	}
	for _, in := range []string{`"2026-03-04T03:06:07.123456Z"`, `"2026-03-04T03:06:07+05:30"`, `"infinity"`, `"-infinity"`, `"0044-03-15T00:00:00Z BC"`, `"0001-02-29T00:00:00Z BC"`, `"294276-12-31T23:59:59.999999Z"`} {
		var at Timestamp
		if err := json.Unmarshal([]byte(in), &at); err != nil {
			t.Errorf("%s: %v", in, err)
		} else if out, err := json.Marshal(at); err != nil || string(out) != in {
			t.Errorf("%s is written as %s, %v", in, out, err)
		}
	}
	var ts Timestamp
	for _, in := range []string{`1`, `"soon"`, `""`, `"2026-02-29"`, `"-2026-01-01"`} {
		if err := json.Unmarshal([]byte(in), &ts); err == nil {
			t.Errorf("%s accepted", in)
		}
	}
}

func TestByteaReadsBothSpellings(t *testing.T) {
	for in, want := range map[string]string{`"00ff"`: "\x00\xff", `"\\x00ff"`: "\x00\xff", `""`: "", `null`: ""} {
		var b Bytea
		if err := json.Unmarshal([]byte(in), &b); err != nil || string(b) != want {
			t.Errorf("%s: %x, %v", in, []byte(b), err)
		}
	}
	if out, err := json.Marshal(Bytea{0, 255}); err != nil || string(out) != `"\\x00ff"` {
		t.Errorf("%s, %v", out, err)
	}
}

func FuzzRow(f *testing.F) {
	f.Add([]byte(`{"id": 9223372036854775807, "data": "00ff", "at": "0044-03-15 BC", "any": [1, 1e300]}`))
	f.Add([]byte(`{"at": "infinity"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		row, err := DecodeRow[struct {
			ID   int64     `json:"id"`
			Data Bytea     `json:"data"`
			At   Timestamp `json:"at"`
			Any  any       `json:"any"`
		}](raw)
		if err == nil && strings.TrimSpace(string(raw)) != "null" {
			if _, ok := member(raw, "id"); ok && row.ID == 0 && !json.Valid(raw) {
				t.Fatalf("decoded %q, which is not JSON", raw)
			}
		}
		if err == nil {
			written, err := json.Marshal(row.At)
			if err != nil {
				t.Fatalf("%+v can't be written: %v", row.At, err)
			}
			var again Timestamp
			if err := json.Unmarshal(written, &again); err != nil || again.Infinite != row.At.Infinite || !again.Time.Equal(row.At.Time.Truncate(time.Microsecond)) {
				t.Fatalf("%+v is written as %s and read as %+v, %v", row.At, written, again, err)
			}
		}
		c := Change{Record: raw, Columns: []Column{{Name: "id"}}}
		c.Missing()
	})
}
