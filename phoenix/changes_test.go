package phoenix

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

func TestBroadcastChangesOfTheDatabaseAreChanges(t *testing.T) {
	m := &BroadcastMessage{Event: "UPDATE", Payload: []byte(`{"id": "b3", "table": "messages", "record": {"v": "b", "id": 1}, "schema": "public", "operation": "UPDATE", "old_record": {"v": "a", "id": 1}}`)}
	c, ok := m.Change()
	if !ok || c.Type != Update || c.Schema != "public" || c.Table != "messages" || string(c.Record) != `{"v": "b", "id": 1}` || string(c.OldRecord) != `{"v": "a", "id": 1}` {
		t.Errorf("%+v, %v", c, ok)
	}
	m.Payload = []byte(`{"table": "messages", "record": null, "operation": "DELETE", "old_record": {"id": 1}}`)
	if c, ok := m.Change(); !ok || c.Type != Delete || c.Record != nil || c.OldRecord == nil {
		t.Errorf("delete: %+v, %v", c, ok)
	}
	for _, other := range []string{``, `{}`, `[]`, `{"operation": "INSERT", "table": "t", "record": null}`, `{"operation": "TRUNCATE", "table": "t", "record": {}}`} {
		m.Payload = []byte(other)
		if c, ok := m.Change(); ok {
			t.Errorf("%q is %+v", other, c)
		}
	}
}

// FuzzChange feeds a live channel with payloads a server might send by mistake:
// none may stop the client, and what is delivered is whole.
func TestChangesGoToTheBindingsThatTheirIDsAndKindName(t *testing.T) {
	s := newScript(t, V2)
	ch := s.channel(s.client(quick()), ChannelOptions{Changes: []Binding{
		{Event: Insert, Table: "messages"}, {Event: Update, Table: "messages"}, {Event: "delete", Table: "messages"}, {Table: "messages", Filter: Eq("id", 1)},
	}})
	p := s.accept()
	join := p.expect(wire.EventJoin)
	// Servers say what was asked for in their own ways: case, null for what is absent, ids as text.
	p.reply(join, "ok", `{"postgres_changes":[
		{"id":100,"event":"insert","schema":null,"table":"messages","filter":null},
		{"id":101,"event":"UPDATE","schema":"","table":"messages","filter":""},
		{"id":"102","event":"DELETE","table":"messages"},
		{"id":103,"event":"*","table":"messages","filter":"id=eq.1","select":null,"more":1}]}`)
	p.subscribed(join)
	until[*Live](t, ch)
	for _, tt := range []struct{ kind, ids, want string }{
		{"INSERT", `[103,100]`, "[0 3]"},
		{"INSERT", `[102,101,100]`, "[0]"}, // ids that a server mixes up: the kind doesn't fit
		{"UPDATE", `["101"]`, "[1]"},
		{"DELETE", `[102,102]`, "[2]"},
	} {
		p.send(wire.Message{Topic: join.Topic, Event: wire.EventChanges, Payload: fmt.Appendf(nil, `{"ids":%s,"data":{"type":%q,"table":"messages","schema":"public"}}`, tt.ids, tt.kind)})
		if c := want[*Change](t, ch); fmt.Sprint(c.Bindings) != tt.want || string(c.Type) != tt.kind {
			t.Errorf("%s for %s: %v of %s, want %s", tt.kind, tt.ids, c.Bindings, c.Type, tt.want)
		}
	}
	// A table that was not asked for is nobody's, whatever its name.
	p.send(wire.Message{Topic: join.Topic, Event: wire.EventChanges, Payload: []byte(`{"ids":[999],"data":{"type":"INSERT","table":"messages","schema":"public"}}`)})
	p.insert(join.Topic, `{"id": 1}`, 100)
	if c := want[*Change](t, ch); string(c.Record) != `{"id": 1}` {
		t.Errorf("a change of no binding was delivered: %s", c.Data)
	}
}

func FuzzChange(f *testing.F) {
	for _, s := range []string{
		`{"data":{"table":"messages","type":"INSERT","record":{"id": 1},"columns":[{"name": "id", "type": "int8"}],"errors":null,"schema":"public","commit_timestamp":"2026-11-22T22:54:04.222Z"},"ids":[1]}`,
		`{"data":{"table":"messages","type":"DELETE","columns":[],"errors":["Error 401: Unauthorized"],"schema":"public","commit_timestamp":null,"old_record":{}},"ids":["1",1]}`,
		`{"data":{"table":5,"type":"INSERT","commit_timestamp":1,"errors":"x"},"ids":{}}`,
		`null`,
	} {
		f.Add([]byte(s))
	}
	c, err := NewClient("http://127.0.0.1", Options{APIKey: "k"})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { c.Close(context.Background()) })
	ch, err := c.Channel("room", ChannelOptions{Changes: messages})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if !wire.Valid(payload) {
			return // the codec keeps it from here
		}
		c.call(context.Background(), func() {
			ch.stage = StageLive
			ch.bind([]byte(`{"postgres_changes":[{"id":1,"event":"*","schema":"public","table":"messages"}]}`))
			for _, event := range []string{wire.EventChanges, wire.EventBroadcast, wire.EventPresenceState, wire.EventPresenceDiff} {
				ch.receive(&wire.Message{Topic: ch.topic, Event: event, Payload: payload})
			}
			ch.stage = StageIdle
		})
		for len(ch.Events()) > 0 {
			switch ev := (<-ch.Events()).(type) {
			case *Change:
				if ev.Type == "" || ev.Table == "" || len(ev.Bindings) == 0 {
					t.Fatalf("%q delivered as %+v", payload, ev)
				}
				for _, raw := range []json.RawMessage{ev.Record, ev.OldRecord, ev.Data} {
					if raw != nil && !json.Valid(raw) {
						t.Fatalf("%q delivered with %q", payload, raw)
					}
				}
			case *BroadcastMessage:
				if ev.Payload != nil && !json.Valid(ev.Payload) {
					t.Fatalf("%q delivered with %q", payload, ev.Payload)
				}
			}
		}
	})
}
