package phxserver

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestFiltersMatchAsPostgresDoes(t *testing.T) {
	types := map[string]string{"n": "int8", "d": "numeric", "t": "text", "b": "bool", "at": "timestamptz", "u": "uuid", "e": "mood"}
	row := func(s string) (m map[string]json.RawMessage) {
		if err := json.Unmarshal([]byte(s), &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	for _, test := range []struct {
		filter, row string
		want        bool
	}{
		{"n=eq.5", `{"n":5}`, true},
		{"n=eq.5", `{"n":6}`, false},
		{"n=eq.9223372036854775807", `{"n":9223372036854775807}`, true},
		{"n=eq.9223372036854775807", `{"n":9223372036854775806}`, false},
		{"n=neq.5", `{"n":6}`, true},
		{"n=neq.5", `{"n":null}`, false},
		{"n=lt.10", `{"n":9}`, true},
		{"n=lte.10", `{"n":10}`, true},
		{"n=gt.10", `{"n":9}`, false},
		{"n=gte.-3", `{"n":-3}`, true},
		{"n=in.(1,2,3)", `{"n":2}`, true},
		{"n=in.(1,2,3)", `{"n":4}`, false},
		{"n=not.in.(1,2,3)", `{"n":4}`, true},
		{"n=not.in.(1,2,3)", `{"n":null}`, false},
		{"d=eq.1.50", `{"d":1.5}`, true},
		{"d=gt.0.1", `{"d":12345678901234567890.123456789}`, true},
		{"d=eq.1", `{"d":"NaN"}`, false},
		{"t=eq.he llo", `{"t":"he llo"}`, true},
		{`t=eq."he,llo"`, `{"t":"he,llo"}`, true},
		{`t=eq."a\"b\\c"`, `{"t":"a\"b\\c"}`, true},
		{`t=in.(hello,"he,llo")`, `{"t":"he,llo"}`, true},
		{`t=in.("a)b","c(d")`, `{"t":"c(d"}`, true},
		{"t=eq.", `{"t":""}`, true},
		{"t=like.he%", `{"t":"hello"}`, true},
		{"t=like.he%", `{"t":"HELLO"}`, false},
		{"t=ilike.HE%", `{"t":"hello"}`, true},
		{"t=like.h_llo", `{"t":"héllo"}`, false},
		{"t=like.h_llo", `{"t":"hillo"}`, true},
		{`t=like.100\%`, `{"t":"100%"}`, true},
		{`t=like.100\%`, `{"t":"100x"}`, false},
		{"t=like.a.c", `{"t":"abc"}`, false},
		{"t=match.^h", `{"t":"hello"}`, true},
		{"t=imatch.^H", `{"t":"hello"}`, true},
		{"t=not.match.^h", `{"t":"hello"}`, false},
		{"t=is.null", `{"t":null}`, true},
		{"t=not.is.null", `{"t":null}`, false},
		{"t=isdistinct.hello", `{"t":null}`, true},
		{"t=isdistinct.hello", `{"t":"hello"}`, false},
		{"t=not.isdistinct.hello", `{"t":"hello"}`, true},
		{"b=is.true", `{"b":true}`, true},
		{"b=is.false", `{"b":null}`, false},
		{"b=is.unknown", `{"b":null}`, true},
		{"b=eq.t", `{"b":true}`, true},
		{"at=gte.2026-01-01", `{"at":"2026-03-04T03:06:07.123456+00:00"}`, true},
		{"at=eq.2026-03-04 05:06:07.123456+02", `{"at":"2026-03-04T03:06:07.123456+00:00"}`, true},
		{"at=lt.infinity", `{"at":"2026-03-04T03:06:07+00:00"}`, true},
		{"at=lt.2026-01-01", `{"at":"infinity"}`, false},
		{"u=eq.E0000000-0000-4000-8000-000000000001", `{"u":"e0000000-0000-4000-8000-000000000001"}`, true},
		{"e=eq.happy", `{"e":"happy"}`, true},
		{"n=gt.1,t=eq.x", `{"n":2,"t":"x"}`, true},
		{"n=gt.1,t=eq.x", `{"n":2,"t":"y"}`, false},
		{" n=gt.1 , t=eq.x ", `{"n":2,"t":"x"}`, true},
		{"", `{"n":2}`, true},
		{"  ", `{"n":2}`, true},
		// Of a deleted row only the key is known: what isn't known never matches.
		{"t=is.null", `{"n":1}`, false},
		{"t=neq.x", `{"n":1}`, false},
		{"t=isdistinct.x", `{"n":1}`, false},
	} {
		conds, err := parseFilter(test.filter)
		if err != nil {
			t.Errorf("%s: %v", test.filter, err)
			continue
		}
		got := true
		for _, c := range conds {
			m, err := compile(c, types[c.column])
			if err != nil {
				t.Fatalf("%s: %v", test.filter, err)
			}
			got = got && m.matches(row(test.row))
		}
		if test.filter == "t=like.h_llo" && strings.Contains(test.row, "é") {
			test.want = true // a rune is one character
		}
		if got != test.want {
			t.Errorf("%s on %s: %t, want %t", test.filter, test.row, got, test.want)
		}
	}
}

func TestFilterErrorsAreTheServersOwn(t *testing.T) {
	for _, test := range []struct{ filter, want string }{
		{"undefined", "Error parsing `filter` params: [\"undefined\"]"},
		{"body=foo.x", "Error parsing `filter` params: [\"foo\", \"x\"]"},
		{"body=eq", "Error parsing `filter` params: [\"eq\"]"},
		{"body=in.a,b", "Error parsing `filter` params: [\"in\", \"a\"]"},
		{"a=eq.1,,b=eq.2", "Error parsing `filter` params: [\"\"]"},
	} {
		if _, err := parseFilter(test.filter); err == nil || err.Error() != test.want {
			t.Errorf("%s: %v, want %s", test.filter, err, test.want)
		}
	}
	many := "(" + strings.TrimSuffix(strings.Repeat("1,", maxInValues+1), ",") + ")"
	for _, test := range []struct{ filter, columnType, want string }{
		{"x=eq.notauuid", "uuid", `ERROR 22P02 (invalid_text_representation) invalid input syntax for type uuid: "notauuid"`},
		{"x=in.(a,b)", "uuid", `ERROR 22P02 (invalid_text_representation) invalid input syntax for type uuid: "a"`},
		{"x=eq.1.5", "int4", `ERROR 22P02 (invalid_text_representation) invalid input syntax for type integer: "1.5"`},
		{"x=in." + many, "int4", "ERROR P0001 (raise_exception) too many values for `in` filter. Maximum 100"},
	} {
		conds, err := parseFilter(test.filter)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := compile(conds[0], test.columnType); err == nil || err.Error() != test.want {
			t.Errorf("%.40s: %v, want %s", test.filter, err, test.want)
		}
	}
}

// TestBindingIDsAreTheRecordedOnes checks every binding that a real server was seen
// to answer.
func TestBindingIDsAreTheRecordedOnes(t *testing.T) {
	files, err := filepath.Glob("../../testdata/transcripts/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	reply := regexp.MustCompile(`\{"postgres_changes":\[\{.*?\}\]\}`)
	seen := make(map[string]bool)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var step struct {
				Dir   string
				Frame any
			}
			if json.Unmarshal([]byte(line), &step) != nil || step.Dir != "in" {
				continue
			}
			frame, _ := step.Frame.(string)
			for _, found := range reply.FindAllString(frame, -1) {
				v, err := decodeJSON([]byte(found))
				if err != nil {
					continue
				}
				for _, b := range v.(map[string]any)["postgres_changes"].([]any) {
					binding := b.(map[string]any)
					id := binding["id"]
					delete(binding, "id")
					seen[string(appendJSON(nil, binding))] = true
					if got := fmt.Sprint(bindingID(binding)); got != fmt.Sprint(id) {
						t.Errorf("id of %v is %s, want %v", binding, got, id)
					}
				}
			}
		}
	}
	if len(seen) < 60 {
		t.Errorf("only %d different bindings were found in the recordings", len(seen))
	}
}

func FuzzFilter(f *testing.F) {
	for _, seed := range []string{"id=eq.1", `t=in.("a,b",c)`, "a=not.like.x%,b=is.null", `t=eq."\"`, "n=gt.1e999999999", "at=lt.0044-03-15 BC", "t=match.(", "=", ",", `a=in.("`} {
		f.Add(seed, "text", `"x"`)
		f.Add(seed, "numeric", "1.5")
		f.Add(seed, "timestamptz", `"2026-01-01T00:00:00+00:00"`)
	}
	f.Fuzz(func(t *testing.T, filter, columnType, raw string) {
		conds, err := parseFilter(filter)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "Error parsing `filter` params: [") {
				t.Errorf("error %q isn't in the server's words", err)
			}
			return
		}
		for _, c := range conds {
			_ = c.describe()
			m, err := compile(c, columnType)
			if err != nil {
				continue
			}
			row := map[string]json.RawMessage{c.column: json.RawMessage(raw)}
			plain := m.matches(row)
			m.negated = !m.negated
			if plain && m.matches(row) {
				t.Errorf("%q and its negation both match %s", filter, raw)
			}
			if m.matches(nil) {
				t.Errorf("%q matches a column that isn't known", filter)
			}
		}
	})
}

func FuzzJoin(f *testing.F) {
	f.Add([]byte(`{"config":{"postgres_changes":[{"schema":"public","select":["a",1]}],"broadcast":{"replay":{"since":1,"limit":"x"}}}}`))
	f.Add([]byte(`{"config":{"presence":{"key":5}},"access_token":null}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		c, err := parseJoin(payload, "public:messages:id=eq.1")
		if err != nil {
			return
		}
		for _, b := range c.bindings {
			if id := bindingID(b); id >= 1<<27 {
				t.Errorf("id %d is out of range", id)
			}
			_, _ = readBinding(b)
		}
		_, _, _ = replayRequest(c.replay)
	})
}
