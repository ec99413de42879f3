package row

import (
	"encoding/json"
	"maps"
	"testing"
	"time"
)

func parse(t *testing.T, record string) Row {
	t.Helper()
	r, err := Parse(json.RawMessage(record))
	if err != nil {
		t.Fatalf("Parse(%s): %v", record, err)
	}
	return r
}

func TestValuesAreTheBytesThatCame(t *testing.T) {
	r := parse(t, ` { "id" : 9223372036854775807 , "n":10.50,"text":"a\"b\\", "größe":"é", "j":{"a":[1,"}"]},"l":[ ],"nil":null,"yes":true } `)
	for name, want := range map[string]string{"id": "9223372036854775807", "n": "10.50", "text": `"a\"b\\"`, "größe": `"é"`, "j": `{"a":[1,"}"]}`, "l": "[ ]", "nil": "null", "yes": "true"} {
		if got := string(r.Get(name)); got != want {
			t.Errorf("Get(%s) = %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]string{"id": "9223372036854775807", "text": `a"b\`, "größe": "é", "j": "", "l": "", "nil": "", "yes": "true", "absent": "", "": ""} {
		if got := r.Text(name); got != want {
			t.Errorf("Text(%s) = %q, want %q", name, got, want)
		}
	}
	if !r.Has("nil") || r.Has("absent") {
		t.Error("a null column is there, an absent one is not")
	}
	if got := parse(t, "{}"); len(got.Columns) != 0 {
		t.Errorf("{} has columns %v", got.Columns)
	}
}

func TestWhatIsNoObjectIsRefused(t *testing.T) {
	for _, record := range []string{"", "null", "[]", `"x"`, `{"a":`, `{"a":1`, `{"a" 1}`, `{"a":1}x`, `{a:1}`} {
		if r, err := Parse(json.RawMessage(record)); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", record, r)
		}
	}
}

func TestTimesAsPostgresWritesThem(t *testing.T) {
	want := time.Date(2026, 3, 4, 3, 6, 7, 123456000, time.UTC)
	for _, text := range []string{"2026-03-04T03:06:07.123456+00:00", "2026-03-04T04:06:07.123456+01:00", "2026-03-04T03:06:07.123456", "2026-03-04 03:06:07.123456+00", "2026-03-04 03:06:07.123456"} {
		if got := Time(text); !got.Equal(want) {
			t.Errorf("Time(%q) = %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{"", "infinity", "0044-03-15 BC", "7"} {
		if got := Time(text); !got.IsZero() {
			t.Errorf("Time(%q) = %v, want none", text, got)
		}
	}
	if got := Timestamp(want); got != "2026-03-04T03:06:07.123456+00:00" {
		t.Errorf("Timestamp = %s", got)
	}
}

func TestRowsAreEqualHoweverTheyAreSpaced(t *testing.T) {
	a, b := parse(t, `{"id": 1, "j": {"a": [1, 2]}, "b": "00ff"}`), parse(t, `{"b":"\\x00ff","id":1,"j":{"a":[1,2]}}`)
	if a.Digest() != b.Digest() {
		t.Error("equal rows have different digests")
	}
	if c := parse(t, `{"b":"00ff","id":1,"j":{"a":[1,3]}}`); a.Digest() == c.Digest() {
		t.Error("different rows have equal digests")
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":1,"b":{"c":[1,"]"]}}`, ` { "a" : "\\\"" , "b" : null } `, `{"é":-1.5e3}`, `[`, `{"a":"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		r, err := Parse(record)
		var want map[string]json.RawMessage
		if wantErr := json.Unmarshal(record, &want); wantErr != nil || want == nil {
			if err == nil {
				t.Fatalf("Parse(%q) gave no error", record)
			}
			return
		}
		if err != nil {
			t.Fatalf("Parse(%q): %v", record, err)
		}
		got := make(map[string]json.RawMessage)
		for _, c := range r.Columns {
			got[c.Name] = c.Value
		}
		if !maps.EqualFunc(got, want, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
			t.Errorf("Parse(%q) = %q, want %q", record, got, want)
		}
		r.Digest()
	})
}

func BenchmarkParse(b *testing.B) {
	record := json.RawMessage(`{"id": "e0000000-0000-4000-8000-000000000003", "body": "a message of ordinary length, such as people write", "status": "sent", "direction": "inbound", "created_at": "2026-11-22T22:53:31.365023+00:00", "updated_at": null, "distributor_id": "d1000000-0000-4000-8000-000000000001", "conversation_id": "c1000000-0000-4000-8000-000000000001"}`)
	b.ReportAllocs()
	b.SetBytes(int64(len(record)))
	for b.Loop() {
		if _, err := Parse(record); err != nil {
			b.Fatal(err)
		}
	}
}
