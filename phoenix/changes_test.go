package phoenix

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// FuzzChange feeds a live channel with payloads a server might send by mistake:
// none may stop the client, and what is delivered is whole.
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
