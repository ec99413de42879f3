package sql

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"
)

func mustType(t testing.TB, text string) *Type {
	t.Helper()
	typ, err := ParseType(text, map[string][]string{"mood": {"sad", "ok", "happy"}})
	if err != nil {
		t.Fatalf("type %s: %v", text, err)
	}
	return typ
}

func TestLiteralsPrintAsPostgRESTPrintsThem(t *testing.T) {
	for _, c := range []struct{ typ, literal, json string }{
		{"int8", "9223372036854775807", "9223372036854775807"},
		{"int8", " -0012 ", "-12"},
		{"int2", "-32768", "-32768"},
		{"numeric", "12345678901234567890.123456789012345", "12345678901234567890.123456789012345"},
		{"numeric", "1.50e3", "1500"},
		{"numeric", "1.5e-3", "0.0015"},
		{"numeric", "-0.00", "0.00"},
		{"numeric", "NaN", `"NaN"`},
		{"numeric(10,2)", "10.5", "10.50"},
		{"numeric(10,2)", "0.005", "0.01"},
		{"numeric(10,2)", "99.995", "100.00"},
		{"numeric(10,2)", "-0.004", "0.00"},
		{"numeric(4)", "9.5", "10"},
		{"float8", "0.1", "0.1"},
		{"float8", "1e300", "1e+300"},
		{"float8", "100000000000000", "100000000000000"},
		{"float8", "1000000000000000", "1e+15"},
		{"float8", "0.00001", "1e-05"},
		{"float8", "Infinity", `"Infinity"`},
		{"float4", "1234567", "1.234567e+06"},
		{"float4", "1.5", "1.5"},
		{"bool", "t", "true"},
		{"bool", "OFF", "false"},
		{"text", "a\"b\\c\n\t\x01é😀/<>&", `"a\"b\\c\n\t\u0001é😀/<>&"`},
		{"varchar(3)", "abc  ", `"abc"`},
		{"uuid", "{9F2C1A00-0000-4000-8000-00000000ABCD}", `"9f2c1a00-0000-4000-8000-00000000abcd"`},
		{"uuid", "9f2c1a00000040008000-00000000abcd", `"9f2c1a00-0000-4000-8000-00000000abcd"`},
		{"jsonb", `{"b":1,"a":[1,2,{"x":null}],"aa":2,"b":1e2}`, `{"a": [1, 2, {"x": null}], "b": 100, "aa": 2}`},
		{"jsonb", `"é\u00e9"`, `"éé"`},
		{"json", ` {"b":1,  "a":2, "a":3} `, `{"b":1,  "a":2, "a":3}`},
		{"timestamptz", "2026-03-04 05:06:07.123456+02", `"2026-03-04T03:06:07.123456+00:00"`},
		{"timestamptz", "2026-03-04T05:06:07Z", `"2026-03-04T05:06:07+00:00"`},
		{"timestamptz", "2026-03-04T05:06:07.1200-0330", `"2026-03-04T08:36:07.12+00:00"`},
		{"timestamptz", "2026-03-04", `"2026-03-04T00:00:00+00:00"`},
		{"timestamptz", "infinity", `"infinity"`},
		{"timestamptz", "0044-03-15 12:00:00+00 BC", `"0044-03-15T12:00:00+00:00 BC"`},
		{"timestamp", "2026-03-04 05:06:07.123456", `"2026-03-04T05:06:07.123456"`},
		{"timestamp", "2026-03-04T05:06:07+02:00", `"2026-03-04T05:06:07"`},
		{"date", "0044-03-15 BC", `"0044-03-15 BC"`},
		{"date", "2026-3-4", `"2026-03-04"`},
		{"date", "10000-02-29", `"10000-02-29"`},
		{"time", "05:06:07.5", `"05:06:07.5"`},
		{"timetz", "05:06:07+02", `"05:06:07+02"`},
		{"bytea", `\xDEADbeef00`, `"\\xdeadbeef00"`},
		{"bytea", `a\\\001`, `"\\x615c01"`},
		{"mood", "happy", `"happy"`},
		{"int[]", "{1, NULL ,3}", "[1,null,3]"},
		{"int[]", "{{1,2},{3,4}}", "[[1,2],[3,4]]"},
		{"int[]", "{}", "[]"},
		{"text[]", `{a,"b c",NULL,"NULL","q\"u",😀}`, `["a","b c",null,"NULL","q\"u","😀"]`},
		{"jsonb[]", `{"{\"a\":1}"}`, `[{"a": 1}]`},
		{"uuid[]", "{9f2c1a00-0000-4000-8000-00000000abcd}", `["9f2c1a00-0000-4000-8000-00000000abcd"]`},
		{"inet", "10.0.0.1/8", `"10.0.0.1/8"`},
	} {
		typ := mustType(t, c.typ)
		v, err := typ.parse(c.literal)
		if err != nil {
			t.Errorf("%s %q: %v", c.typ, c.literal, err)
			continue
		}
		got := typ.appendJSON(nil, v, rowToJSON)
		if string(got) != c.json {
			t.Errorf("%s %q prints %s, want %s", c.typ, c.literal, got, c.json)
		}
		again, err := typ.parseJSON(got)
		if err != nil || typ.kind != kindJSON && again.text != v.text {
			t.Errorf("%s %q: its own JSON %s reads back as %q, %v", c.typ, c.literal, got, again.text, err)
		}
	}
}

func TestChangesCarryValuesAsTheLogDoes(t *testing.T) {
	for _, c := range []struct{ typ, literal, json string }{
		{"json", `{"b":1,  "a":2, "a":3}`, `{"a": 3, "b": 1}`},
		{"json[]", `{"{\"b\":1,\"a\":2}"}`, `[{"a": 2, "b": 1}]`},
		{"float8", "1e20", "100000000000000000000"},
		{"float4", "1e-30", "0.000000000000000000000000000001"},
		{"int8", "9223372036854775807", "9223372036854775807"},
	} {
		typ := mustType(t, c.typ)
		v, err := typ.parse(c.literal)
		if err != nil {
			t.Fatalf("%s %q: %v", c.typ, c.literal, err)
		}
		if got := typ.appendJSON(nil, v, toJSONB); string(got) != c.json {
			t.Errorf("%s %q is told as %s, want %s", c.typ, c.literal, got, c.json)
		}
	}
}

func TestBadLiteralsAreRefusedWithPostgresCodes(t *testing.T) {
	for _, c := range []struct{ typ, literal, code, message string }{
		{"int2", "32768", "22003", `value "32768" is out of range for type smallint`},
		{"int4", "1.0", "22P02", `invalid input syntax for type integer: "1.0"`},
		{"int8", "", "22P02", `invalid input syntax for type bigint: ""`},
		{"numeric", "1,5", "22P02", `invalid input syntax for type numeric: "1,5"`},
		{"numeric(4,2)", "99.995", "22003", "numeric field overflow"},
		{"float8", "0x10", "22P02", `invalid input syntax for type double precision: "0x10"`},
		{"float8", "1e999", "22003", `value "1e999" is out of range for type double precision`},
		{"bool", "maybe", "22P02", `invalid input syntax for type boolean: "maybe"`},
		{"uuid", "9f2c1a00", "22P02", `invalid input syntax for type uuid: "9f2c1a00"`},
		{"jsonb", `{"a":}`, "22P02", "invalid input syntax for type jsonb"},
		{"json", "{} {}", "22P02", "invalid input syntax for type json"},
		{"timestamptz", "yesterday-ish", "22007", `invalid input syntax for type timestamp with time zone: "yesterday-ish"`},
		{"timestamptz", "2026-13-01T00:00:00Z", "22008", `date/time field value out of range: "2026-13-01T00:00:00Z"`},
		{"date", "2026-02-30", "22008", `date/time field value out of range: "2026-02-30"`},
		{"varchar(3)", "abcd", "22001", "value too long for type character varying(3)"},
		{"text", "a\x00b", "22P05", "unsupported Unicode escape sequence"},
		{"mood", "angry", "22P02", `invalid input value for enum mood: "angry"`},
		{"int[]", "1,2", "22P02", `malformed array literal: "1,2"`},
		{"int[]", "{1,", "22P02", `malformed array literal: "{1,"`},
		{"int[]", "{a}", "22P02", `invalid input syntax for type integer: "a"`},
		{"bytea", `\xzz`, "22023", "invalid hexadecimal data"},
	} {
		_, err := mustType(t, c.typ).parse(c.literal)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s %q: error %v, want code %s", c.typ, c.literal, err, c.code)
		} else if e.Code != c.code || e.Message != c.message {
			t.Errorf("%s %q: %s %s, want %s %s", c.typ, c.literal, e.Code, e.Message, c.code, c.message)
		}
	}
}

func TestValuesOrderByMeaningNotText(t *testing.T) {
	for _, c := range []struct {
		typ, less, greater string
	}{
		{"int8", "9", "10"},
		{"int8", "-10", "-9"},
		{"numeric", "9.99", "10"},
		{"numeric", "-10", "-9.5"},
		{"numeric", "-0.1", "0"},
		{"numeric", "0.09", "0.1"},
		{"numeric", "1e30", "NaN"},
		{"numeric", "-Infinity", "-1e30"},
		{"float8", "1e2", "1e3"},
		{"float8", "Infinity", "NaN"},
		{"bool", "false", "true"},
		{"mood", "sad", "ok"},
		{"mood", "ok", "happy"},
		{"timestamptz", "2026-01-01T10:00:00+05:00", "2026-01-01T06:00:00Z"},
		{"timestamptz", "0044-01-01 BC", "0001-01-01"},
		{"timestamptz", "-infinity", "infinity"},
		{"date", "9999-12-31", "10000-01-01"},
		{"text", "B", "a"},
	} {
		typ := mustType(t, c.typ)
		a, aerr := typ.parse(c.less)
		b, berr := typ.parse(c.greater)
		if aerr != nil || berr != nil {
			t.Errorf("%s: %v, %v", c.typ, aerr, berr)
			continue
		}
		if typ.compare(a, b) >= 0 || typ.compare(b, a) <= 0 || typ.compare(a, a) != 0 {
			t.Errorf("%s: %q should be less than %q", c.typ, c.less, c.greater)
		}
	}
}

func TestEqualValuesShareAnIndexKey(t *testing.T) {
	for _, c := range []struct{ typ, a, b string }{
		{"numeric", "1.50", "1.5"}, {"numeric", "10", "10.0"}, {"float8", "0", "-0"}, {"timestamptz", "2026-01-01T01:00:00+01", "2026-01-01"},
		{"uuid", "{9F2C1A00-0000-4000-8000-00000000ABCD}", "9f2c1a00-0000-4000-8000-00000000abcd"},
	} {
		typ := mustType(t, c.typ)
		a, aerr := typ.parse(c.a)
		b, berr := typ.parse(c.b)
		if aerr != nil || berr != nil {
			t.Errorf("%s: %v, %v", c.typ, aerr, berr)
		} else if typ.indexKey(a) != typ.indexKey(b) {
			t.Errorf("%s: %q has the key %q and %q the key %q", c.typ, c.a, typ.indexKey(a), c.b, typ.indexKey(b))
		}
	}
}

func TestTimesKeepMicroseconds(t *testing.T) {
	at := time.Date(2026, 11, 22, 22, 53, 31, 365023999, time.FixedZone("", 3600))
	got := mustType(t, "timestamptz").at(at).text
	if want := "2026-11-22T21:53:31.365024+00:00"; got != want {
		t.Errorf("%s prints %s, want %s", at, got, want)
	}
}

func FuzzLiterals(f *testing.F) {
	types := []string{"int8", "numeric", "numeric(10,2)", "float8", "float4", "bool", "uuid", "json", "jsonb", "timestamptz", "timestamp", "date", "time",
		"bytea", "int[]", "text[]", "jsonb[]", "varchar(5)", "mood"}
	for i, s := range []string{"1", "-1.5e3", "NaN", "1e300", `{"a":[1,2]}`, "2026-03-04T05:06:07.1+02", "0044-03-15 BC", `{1,NULL,"a\"b"}`, `\xff`, "{{1},{2}}"} {
		f.Add(uint8(i), s)
	}
	f.Fuzz(func(t *testing.T, which uint8, text string) {
		typ := mustType(t, types[int(which)%len(types)])
		v, err := typ.parse(text)
		if err != nil {
			if e := (*Error)(nil); !errors.As(err, &e) {
				t.Fatalf("%s %q: an error of type %T", typ.name, text, err)
			}
			return
		}
		for _, d := range []dialect{rowToJSON, toJSONB} {
			out := typ.appendJSON(nil, v, d)
			if !json.Valid(out) {
				t.Fatalf("%s %q prints %q, no JSON", typ.name, text, out)
			}
			again, err := typ.parseJSON(out)
			if err != nil {
				t.Fatalf("%s %q prints %q, which doesn't read back: %v", typ.name, text, out, err)
			}
			if typ.elem != nil && typ.elem.kind == kindJSONB {
				// In JSON a dimension of the array looks like an element that is a list, which is written with
				// spaces.
				v.text, again.text = compact(t, v.text), compact(t, again.text)
			}
			if !again.null && !v.null && typ.kind != kindJSON && typ.compare(again, v) != 0 {
				t.Fatalf("%s %q prints %q, which reads back as %q", typ.name, text, out, again.text)
			}
		}
	})
}

func compact(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return b.String()
}
