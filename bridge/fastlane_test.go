package bridge

import (
	"slices"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/migration"
	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// twoLanes is a stand-in with the triggers, whose postgres_changes come at the real one's pace.
func twoLanes(t *testing.T, lane string) *world {
	t.Helper()
	opts := standin.Options{Broadcast: map[string]string{"messages": migration.Topic, "conversations": migration.Topic}}
	opts.Realtime.Timing.Poll = phxserver.RealTiming().Poll
	return newWorldOn(t, opts, func(cfg *config.Config) {
		cfg.Supabase.FastLane = lane
		cfg.Supabase.Feed.Stall = time.Minute // on a busy machine copies may be late, and then none are awaited
	})
}

// fast waits until the fast lane carries changes: of a conversation and of a message of another
// than the tests join.
func (w *world) fast() {
	w.t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for w.bridge.upstream.feed.Stats().Fast == 0 {
		w.rest("PATCH", "conversations?id=eq."+bakery, `{"status":"ACTIVE"}`)
		w.rest("PATCH", "messages?id=eq.e1000000-0000-4000-8000-000000000011", `{"status":"READ"}`)
		select {
		case <-ticker.C:
		case <-timeout.C:
			w.t.Fatalf("the fast lane brings nothing; log:\n%s", w.log)
		}
	}
}

// inject makes a fault happen until the test ends.
func (w *world) inject(f phxserver.Fault) *phxserver.Injection {
	w.t.Helper()
	i, err := w.project.Realtime().Inject(f)
	if err != nil {
		w.t.Fatal(err)
	}
	return i
}

// repeats waits until the feed has dropped this many copies.
func (w *world) repeats(want uint64) {
	w.t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for w.bridge.upstream.feed.Stats().Repeats < want {
		select {
		case <-ticker.C:
		case <-timeout.C:
			w.t.Fatalf("%d copies were dropped, want %d", w.bridge.upstream.feed.Stats().Repeats, want)
		}
	}
}

func TestTheFastLaneWinsAndTheCopiesAreDropped(t *testing.T) {
	t.Parallel()
	w := twoLanes(t, "auto")
	w.fast()
	ana := w.as(anaID)
	ana.must("join_conversation", bakery)
	before := w.bridge.upstream.feed.Stats().Repeats
	stalled := w.inject(phxserver.Fault{Action: phxserver.Stall}) // postgres_changes say nothing
	id := w.write(bakery, "soon")
	if got := ana.event("new_message"); got["id"] != id {
		t.Errorf("new_message %v", got)
	}
	stalled.Stop()
	id = w.write(bakery, "hello")
	w.rest("PATCH", "messages?id=eq."+id, `{"status":"READ"}`)
	w.rest("DELETE", "messages?id=eq."+id, "")
	if got := ana.event("new_message"); got["id"] != id {
		t.Errorf("new_message %v", got)
	}
	if got := ana.event("message_updated"); got["status"] != "READ" {
		t.Errorf("message_updated %v", got)
	}
	if got := ana.event("message_deleted"); got["id"] != id || got["content"] != "hello" {
		t.Errorf("message_deleted %v, want the whole row", got)
	}
	w.repeats(before + 3)
	ana.sync()
	for _, event := range []string{"new_message", "message_updated", "message_deleted", "resync"} {
		if ana.heard(event) {
			t.Errorf("%s came twice", event)
		}
	}
}

func TestADeleteOfARowThatNobodyRemembersReachesItsRoomByTheFastLane(t *testing.T) {
	t.Parallel()
	w := twoLanes(t, "on")
	w.fast()
	ana := w.as(anaID)
	ana.must("join_conversation", bakery)
	rows := w.rest("GET", "messages?conversation_id=eq."+bakery+"&id=neq.e1000000-0000-4000-8000-000000000001&limit=1", "")
	id := rows[0]["id"].(string)
	w.rest("DELETE", "messages?id=eq."+id, "")
	if got := ana.event("message_deleted"); got["id"] != id {
		t.Errorf("message_deleted %v", got)
	}
}

func TestEitherLaneCutLeavesTheOther(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, topic string }{{"postgres_changes", feedTopic}, {"the fast lane", migration.Topic}} {
		t.Run(c.name, func(t *testing.T) {
			w := twoLanes(t, "on")
			w.fast()
			ana := w.as(anaID)
			ana.must("join_conversation", bakery)
			ana.event("bridge_status")
			w.inject(phxserver.Fault{Action: phxserver.Drop, Direction: "in", Event: "phx_join", Topic: c.topic})
			w.inject(phxserver.Fault{Action: phxserver.Crash, Topic: c.topic})
			var want []string
			for _, content := range []string{"one", "two", "three"} {
				want = append(want, w.write(bakery, content))
			}
			var got []string
			for range want {
				id, _ := ana.event("new_message")["id"].(string)
				got = append(got, id)
			}
			if !slices.Equal(got, want) {
				t.Errorf("messages %q, want %q", got, want)
			}
			if r := w.bridge.upstream.feed.Report(); r.State != feed.Live {
				t.Errorf("the feed is %+v, want live", r)
			}
			ana.sync()
			if ana.heard("bridge_status") || ana.heard("resync") || ana.heard("new_message") {
				t.Errorf("browsers noticed: %q", ana.held)
			}
		})
	}
}

func TestWithoutTheTriggersOrWithTheLaneOffRowsComeAsBefore(t *testing.T) {
	t.Parallel()
	for _, lane := range []string{"auto", "off"} {
		t.Run(lane, func(t *testing.T) {
			w := newWorld(t, func(cfg *config.Config) {
				cfg.Supabase.FastLane = lane
				cfg.Supabase.Feed.Stall = time.Minute // on a busy machine copies may be late, and then none are awaited
			})
			ana := w.as(anaID)
			ana.must("join_conversation", bakery)
			id := w.write(bakery, "hello")
			if got := ana.event("new_message"); got["id"] != id {
				t.Errorf("new_message %v", got)
			}
			joined := w.bridge.upstream.source.fast != nil
			if joined != (lane != "off") {
				t.Errorf("the lane is joined: %t", joined)
			}
		})
	}
}

// TestTheFastLaneIsFast measures from the request that commits to the browser's event.
func TestTheFastLaneIsFast(t *testing.T) {
	t.Parallel()
	const rows = 20
	median := map[string]time.Duration{}
	for _, lane := range []string{"off", "on"} {
		w := twoLanes(t, lane)
		if lane == "on" {
			w.fast()
		}
		ana := w.as(anaID)
		ana.must("join_conversation", bakery)
		var took []time.Duration
		for range rows {
			begun := time.Now()
			w.write(bakery, "x")
			ana.event("new_message")
			took = append(took, time.Since(begun))
		}
		slices.Sort(took)
		median[lane] = took[rows/2]
		t.Logf("fast_lane %s: request to event median %s, slowest %s", lane, took[rows/2], took[rows-1])
	}
	if median["on"]*2 > median["off"] {
		t.Errorf("with the lane %s, without %s: it gains nothing", median["on"], median["off"])
	}
}

func TestTheLatencyOfTheFastLaneIsMeasured(t *testing.T) {
	t.Parallel()
	w := twoLanes(t, "auto")
	w.fast()
	ana := w.as(anaID)
	ana.must("join_conversation", bakery)
	before := len(w.bridge.metrics.changes.Recent())
	id := w.write(bakery, "quick")
	if got := ana.event("new_message"); got["id"] != id {
		t.Fatalf("new_message %v", got)
	}
	if list := w.bridge.metrics.changes.Recent(); len(list) == 0 || len(list) < before || list[len(list)-1].Median > 1000 {
		t.Errorf("the history is %+v", list)
	}
	if old := w.bridge.committed(feed.Change{Table: "messages", Action: feed.Insert, Row: parseRow(t, `{"updated_at":"2001-01-01T00:00:00Z"}`)}); !old.IsZero() {
		t.Errorf("a row that was brought in from elsewhere counts as committed at %s", old)
	}
}

func parseRow(t *testing.T, text string) row.Row {
	t.Helper()
	r, err := row.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}
