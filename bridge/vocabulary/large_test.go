package vocabulary

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/bridge/row"
)

// said gives the payload of an event about a row.
func said(t *testing.T, o Options, record map[string]any) (payload json.RawMessage, fields map[string]any) {
	t.Helper()
	text, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	r, err := row.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	v := compile(t, o)
	events := v.Say(v.Preset(), &Occasion{Event: MessageUpdated, Row: r, Nested: "message", Fields: []Extra{{Name: "conversationId", Value: json.RawMessage(`"c"`)}}})
	if len(events) != 1 {
		t.Fatalf("%d events", len(events))
	}
	payload = events[0].Args[0]
	if err := json.Unmarshal(payload, &fields); err != nil {
		t.Fatalf("%s: %v", payload, err)
	}
	return payload, fields
}

// missing is what an object says that it lacks.
func missing(object any) []string {
	var list []string
	fields, _ := object.(map[string]any)
	all, _ := fields["_truncated"].([]any)
	for _, name := range all {
		list = append(list, name.(string))
	}
	slices.Sort(list)
	return list
}

func TestNoShapeRepeatsALargeValue(t *testing.T) {
	t.Parallel()
	large, small := strings.Repeat("L", 100_000), strings.Repeat("s", 10_000)
	record := map[string]any{"id": 1, "content": large, "raw_body": large + "R", "note": small, "is_read": true}
	for shape, repeated := range map[Shape]int{Row: 1, Camel: 1, Snake: 1, Wrapped: 1, Superset: 2} {
		payload, fields := said(t, Options{Shape: shape}, record)
		if n := strings.Count(string(payload), large); n != 2 { // content, and raw_body
			t.Errorf("%s has the large values %d times, want each once", shape, n)
		}
		if n := strings.Count(string(payload), small); n != repeated {
			t.Errorf("%s has the small value %d times, want %d", shape, n, repeated)
		}
		if shape != Superset {
			if m := missing(fields); m != nil {
				t.Errorf("%s lacks %q", shape, m)
			}
			continue
		}
		if fields["content"] != large || fields["raw_body"] != large+"R" || fields["isRead"] != true {
			t.Error("superset has not the columns as the table has them")
		}
		if m := missing(fields); !slices.Equal(m, []string{"rawBody"}) {
			t.Errorf("superset says that it lacks %q, want rawBody", m)
		}
		if m := missing(fields["message"]); !slices.Equal(m, []string{"content", "rawBody"}) {
			t.Errorf("the message within says that it lacks %q, want content and rawBody", m)
		}
	}
}

func TestALargeRowGoesWithoutItsLargestColumns(t *testing.T) {
	t.Parallel()
	record := map[string]any{"id": 1, "conversation_id": "c", "content": strings.Repeat("L", 700_000), "raw_body": strings.Repeat("R", 300_000), "note": "n",
		"attachments": []string{strings.Repeat("a", 100_000)}, "status": "SENT"}
	for shape, want := range map[Shape][]string{
		Row: {"content", "raw_body"}, Snake: {"content", "raw_body"}, Camel: {"content", "rawBody"}, Superset: {"content", "rawBody", "raw_body"}, Wrapped: {"content", "rawBody"},
	} {
		payload, fields := said(t, Options{Shape: shape}, record)
		if shape == Wrapped {
			fields, _ = fields["message"].(map[string]any)
		}
		if m := missing(fields); !slices.Equal(m, want) {
			t.Errorf("%s lacks %q, want %q", shape, m, want)
		}
		if fields["id"] != 1.0 || fields["note"] != "n" || fields["status"] != "SENT" || fields["attachments"] == nil || fields["content"] != nil {
			t.Errorf("%s has other columns than it should", shape)
		}
		if len(payload) > 3*DefaultMaxRow {
			t.Errorf("%s has %d bytes", shape, len(payload))
		}
	}
	if _, fields := said(t, Options{MaxRow: 2 << 20}, record); missing(fields) == nil || fields["content"] == nil {
		t.Error("above another bound the columns are not all there")
	}
	// A large row of small columns can't be made smaller, and is sent.
	wide := make(map[string]any)
	for _, c := range strings.Split(strings.Repeat("abcdefghij", 30), "") {
		wide[c+strings.Repeat("x", len(wide))] = strings.Repeat("w", 900)
	}
	if _, fields := said(t, Options{Shape: Row, MaxRow: 4096}, wide); len(fields) != len(wide) {
		t.Errorf("of %d small columns %d are there", len(wide), len(fields))
	}
	// Templates see what the payload has.
	v := compile(t, Options{})
	text, _ := json.Marshal(record)
	r, err := row.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	o := &Occasion{Event: MessageStatus, Row: r}
	v.Say(v.Preset(), o)
	if o.Row.Has("content") || !o.Row.Has("status") {
		t.Error("templates see a column that is left out, or miss one that is not")
	}
}
