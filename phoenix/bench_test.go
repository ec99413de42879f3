package phoenix

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// dispatching runs f on the loop of a client with a live channel. step takes one
// frame from the socket's bytes to the consumer: the copy out of the read buffer,
// decoding, and delivery.
func dispatching(tb testing.TB, frame []byte, binary bool, f func(step func())) {
	tb.Helper()
	c, err := NewClient("http://127.0.0.1", Options{APIKey: "k"})
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close(context.Background())
	ch, err := c.Channel("supabridge", ChannelOptions{Changes: messages})
	if err != nil {
		tb.Fatal(err)
	}
	c.call(context.Background(), func() {
		cn := &conn{pending: make(map[wire.Ref]*push)}
		c.link.conn, ch.stage, ch.subscribed = cn, StageLive, true
		if !ch.bind([]byte(`{"postgres_changes":[{"id":72696871,"event":"*","schema":"public","table":"messages"}]}`)) {
			tb.Error("not bound")
		}
		f(func() {
			in := inbound{cn: cn, n: len(frame), binary: binary}
			own := append(make([]byte, 0, len(frame)), frame...)
			if binary {
				in.msg, in.err = wire.DecodeServerBinary(V2, own)
			} else {
				in.msg, in.err = wire.DecodeServerText(V2, own)
			}
			c.receive(in)
			if len(ch.out.events) != 1 {
				tb.Error("not delivered")
				return
			}
			<-ch.out.events
		})
		c.link.conn, ch.stage = nil, StageIdle
	})
}

func benchmarkDispatch(b *testing.B, frame []byte, binary bool) {
	dispatching(b, frame, binary, func(step func()) {
		b.SetBytes(int64(len(frame)))
		b.ReportAllocs()
		for b.Loop() {
			step()
		}
	})
}

func row(n int) string {
	return fmt.Sprintf(`{"id": "e0000000-0000-4000-8000-000000000020", "body": "%s", "status": "sent", "direction": "inbound", "created_at": "2026-11-22T22:54:04.222016+00:00", "updated_at": null, "distributor_id": "d1000000-0000-4000-8000-000000000001", "conversation_id": "c1000000-0000-4000-8000-000000000001"}`, strings.Repeat("x", n))
}

const rowColumns = `[{"name": "id", "type": "uuid"}, {"name": "conversation_id", "type": "uuid"}, {"name": "distributor_id", "type": "uuid"}, {"name": "body", "type": "text"}, {"name": "direction", "type": "text"}, {"name": "status", "type": "text"}, {"name": "created_at", "type": "timestamptz"}, {"name": "updated_at", "type": "timestamptz"}]`

func changeFrame(body int) []byte {
	return []byte(`[null,null,"realtime:supabridge","postgres_changes",{"data":{"table":"messages","type":"INSERT","record":` + row(body) + `,"columns":` + rowColumns +
		`,"errors":null,"schema":"public","commit_timestamp":"2026-11-22T22:54:04.222Z"},"ids":[72696871]}]`)
}

func BenchmarkDispatchChange1KiB(b *testing.B) { benchmarkDispatch(b, changeFrame(180), false) }

func BenchmarkDispatchBroadcastFromDatabase1KiB(b *testing.B) {
	m := wire.Message{Kind: wire.UserBroadcast, Topic: "realtime:supabridge", UserEvent: "INSERT", Metadata: []byte(`{"id":"8502f42a-e933-436e-bd8f-e4d1fc6f213e"}`),
		Payload: []byte(`{"id": "8502f42a-e933-436e-bd8f-e4d1fc6f213e", "table": "messages", "record": ` + row(500) + `, "schema": "public", "operation": "INSERT", "old_record": null}`)}
	frame, _, err := wire.AppendServer(nil, V2, &m)
	if err != nil {
		b.Fatal(err)
	}
	benchmarkDispatch(b, frame, true)
}

// TestDispatchOfAChangeAllocatesThreeTimes holds the aim: the frame's own bytes, its
// topic and the event.
func TestDispatchOfAChangeAllocatesThreeTimes(t *testing.T) {
	frame := changeFrame(180)
	if len(frame) < 1000 || len(frame) > 1100 {
		t.Fatalf("frame of %d bytes is not the 1 KiB meant", len(frame))
	}
	dispatching(t, frame, false, func(step func()) {
		if n := testing.AllocsPerRun(100, step); n > 3 {
			t.Errorf("%v allocations a change, want at most 3", n)
		}
		const changes = 1000
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range changes {
			step()
		}
		runtime.ReadMemStats(&after)
		if n := (after.TotalAlloc - before.TotalAlloc) / changes; n > 1400 {
			t.Errorf("%d bytes a change, want the 1,336 that the package states", n)
		}
	})
}
