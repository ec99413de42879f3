package bridge

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/phoenix/phxserver"
)

func TestWhatIsCommittedWhileRealtimeIsAwayArrivesOnceWhenItIsBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *config.Config) { cfg.Supabase.Feed.Overlap = time.Second })
	ana := w.as(anaID)
	if got := ana.event("bridge_status"); got["state"] != "live" {
		t.Errorf("bridge_status on connecting: %v", got)
	}
	ana.must("join_conversation", bakery)
	kept := w.write(bakery, "before")
	ana.event("new_message")
	w.upstream.cut()
	if got := ana.event("bridge_status"); got["state"] == "live" {
		t.Errorf("bridge_status: %v, want the truth", got)
	}
	missed := map[string]bool{}
	w.inside(func(tx *standin.Tx) error {
		for _, content := range []string{"one", "two", "three"} {
			row, err := tx.Insert("messages", map[string]any{"conversation_id": bakery, "content": content})
			if err != nil {
				return err
			}
			missed[text(t, row["id"])] = true
		}
		_, err := tx.Update("messages", map[string]any{"id": kept}, map[string]any{"content": "changed"})
		return err
	})
	w.upstream.mend()
	for range 3 {
		got := ana.event("new_message")
		if id, _ := got["id"].(string); !missed[id] {
			t.Errorf("new_message %v came twice or was not missed", got)
		} else {
			delete(missed, id)
		}
	}
	if got := ana.event("message_updated"); got["id"] != kept || got["content"] != "changed" {
		t.Errorf("message_updated %v", got)
	}
	if got := ana.event("resync"); got["reason"] != "reconnect" || got["since"] == nil {
		t.Errorf("resync %v", got)
	}
	w.await(feed.Live)
	w.write(bakery, "after")
	if got := ana.event("new_message"); got["content"] != "after" {
		t.Errorf("new_message %v, want the one written after", got)
	}
	if ana.heard("new_message") || ana.heard("message_updated") {
		t.Errorf("something came twice: %q", ana.held)
	}
}

func TestAJoinWithSinceBringsWhatWasMissedAndThenGoesLive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	first := w.write(bakery, "seen")
	seen := w.rest("GET", "messages?id=eq."+first, "")[0]
	missed, changed := w.write(bakery, "missed"), "e1000000-0000-4000-8000-000000000001"
	w.rest("PATCH", "messages?id=eq."+changed, `{"status":"DELIVERED"}`)
	elsewhere := w.write("c1000000-0000-4000-8000-000000000002", "elsewhere")
	for name, since := range map[string]any{"a message's id": first, "its time": seen["updated_at"], "the message": seen} {
		ana := w.as(anaID)
		ana.must("join_conversation", map[string]any{"conversationId": bakery, "since": since})
		if name != "the message" { // the instant is included: other rows may share it
			if got := ana.event("new_message"); got["id"] != first {
				t.Errorf("%s: new_message %v, want the one seen", name, got)
			}
		}
		if got := ana.event("new_message"); got["id"] != missed || got["content"] != "missed" || got["distributorId"] != harbour {
			t.Errorf("%s: new_message %v, want the one missed", name, got)
		}
		if got := ana.event("message_updated"); got["id"] != changed || got["status"] != "DELIVERED" {
			t.Errorf("%s: message_updated %v, want the one changed", name, got)
		}
		live := w.write(bakery, "live")
		if got := ana.event("new_message"); got["id"] != live {
			t.Errorf("%s: new_message %v, want the live one", name, got)
		}
		if ana.heard("new_message") || ana.heard("message_updated") {
			t.Errorf("%s: more came: %q", name, ana.held)
		}
		ana.must("leave_conversation", bakery)
		w.rest("DELETE", "messages?id=eq."+live, "")
	}
	ana := w.as(anaID)
	for _, since := range []string{elsewhere, "yesterday"} {
		o := ana.try("join_conversation", bakery, map[string]any{"since": since})
		if !o.Success || o.Complete == nil || *o.Complete || o.Reason != "bad_since" {
			t.Errorf("since %s: %+v, want the room entered, and that not all came", since, o)
		}
	}
}

func TestAJoinWithSeveralMessagesAsSinceBringsWhatLiesBetweenThemAndNoneOfThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var seen []map[string]any
	var missed string
	for _, content := range []string{"oldest", "missed", "changed later", "newest"} {
		id := w.write(bakery, content)
		if content == "missed" {
			missed = id
			continue
		}
		seen = append(seen, w.rest("GET", "messages?id=eq."+id, "")[0])
	}
	changed := seen[1]["id"]
	w.rest("PATCH", "messages?id=eq."+changed.(string), `{"content":"changed"}`)
	ana := w.as(anaID)
	ana.must("join_conversation", map[string]any{"conversationId": bakery, "since": seen})
	if got := ana.event("new_message"); got["id"] != missed {
		t.Errorf("new_message %v, want the one missed", got)
	}
	if got := ana.event("message_updated"); got["id"] != changed || got["content"] != "changed" {
		t.Errorf("message_updated %v, want the one changed since it was seen", got)
	}
	ana.sync()
	if ana.heard("new_message") || ana.heard("message_updated") {
		t.Errorf("more came: %q", ana.held)
	}
}

func TestWhatIsKeptForAJoinComesByNoOtherRoomMeanwhile(t *testing.T) {
	t.Parallel()
	h := newHolds(config.Default())
	var told []keptChange
	x := h.put(bakery, "a socket", new(stays), 0, func(k keptChange) { told = append(told, k) })
	rooms := []string{"conversation:" + bakery, "tenant:" + harbour}
	for n := range maxKept {
		if got := h.take(feed.Change{Action: feed.Insert}, []string{bakery}, rooms, nil); len(got) != 1 || got[0] != "a socket" {
			t.Fatalf("change %d goes to all but %q, want all but the socket that is joining", n, got)
		}
	}
	if len(told) != 0 {
		t.Fatalf("%d changes were told before the join has failed", len(told))
	}
	if got := h.take(feed.Change{Action: feed.Insert}, []string{bakery}, rooms, nil); len(got) != 0 || !x.broken || len(told) != maxKept || len(told[0].rooms) != 2 {
		t.Errorf("beyond the bound: all but %q, broken %t, %d told of %d kept", got, x.broken, len(told), maxKept)
	}
	h.end(bakery, x)
}

func TestStoppingDoesNotWaitForAJoinWithSinceThatNobodyCanSettle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *config.Config) { cfg.Ops.ShutdownTimeout = time.Second })
	w.bridge.upstream.end() // as when the feed has ended while the client's event is being handled
	ana := w.as(anaID)
	since := map[string]any{"id": "e1000000-0000-4000-8000-000000000001", "updated_at": "2026-01-01T00:00:00Z"}
	stuck, done := make(chan struct{}), make(chan struct{})
	held := make(chan struct{})
	go func() { // keeps the feed from coming to the join, as its end does
		defer close(done)
		if err := w.bridge.upstream.feed.Do(t.Context(), func() { close(held); <-stuck }); err != nil {
			t.Errorf("Do: %v", err)
		}
	}()
	<-held
	if o := ana.try("join_conversation", map[string]any{"conversationId": bakery, "since": since}); o.Success || o.Code != "unavailable" {
		t.Errorf("a join that the feed can't settle: %+v, want unavailable", o)
	}
	close(stuck)
	<-done
}

func TestNoRowIsLostOrTwiceWhereWritersAndJoinsWithSinceMeet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	start := w.write(bakery, "start")
	began := w.rest("GET", "messages?id=eq."+start, "")[0]["updated_at"]
	const rows = 100
	written := make(chan struct{})
	go func() {
		defer close(written)
		for range rows {
			if err := w.project.DB().Tx(func(tx *standin.Tx) error {
				_, err := tx.Insert("messages", map[string]any{"conversation_id": bakery, "content": "x"})
				return err
			}); err != nil {
				t.Error(err)
			}
		}
	}()
	var browsers []*browser
	for range 10 {
		ana := w.as(anaID)
		ana.must("join_conversation", map[string]any{"conversationId": bakery, "since": map[string]any{"id": start, "updated_at": began}})
		browsers = append(browsers, ana)
	}
	<-written
	for i, ana := range browsers {
		seen := map[any]bool{}
		for len(seen) < rows {
			id := ana.event("new_message")["id"]
			if seen[id] {
				t.Fatalf("browser %d got a row twice, after %d", i, len(seen))
			}
			seen[id] = true
		}
		ana.sync()
		if ana.heard("new_message") {
			t.Errorf("browser %d got more than was written", i)
		}
	}
}

func TestABrowserThatLostItsConnectionGetsItsRoomsAndWhatItMissedBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ana, ben := w.as(anaID), w.as(benID)
	for _, b := range []*browser{ana, ben} {
		b.must("join_conversation", bakery)
		b.must("join_distributor")
	}
	w.write(bakery, "before")
	ana.event("new_message")
	ana.conn.Close()
	for _, content := range []string{"one", "two"} {
		w.write(bakery, content)
	}
	back := map[string]string{"token": w.token(anaID), "pid": ana.pid, "offset": ana.offset}
	again := connect(t, w.address, back)
	if again.sid != ana.sid {
		t.Fatalf("the socket is %s, want %s back", again.sid, ana.sid)
	}
	for _, want := range []string{"one", "two"} {
		if got := again.event("new_message"); got["content"] != want {
			t.Errorf("new_message %v, want %s", got, want)
		}
	}
	again.must("typing_start", bakery)
	if got := ben.event("user_typing"); got["userId"] != anaID {
		t.Errorf("user_typing %v, want ana", got)
	}
	var online []string
	if err := json.Unmarshal(again.ask("get_online_users"), &online); err != nil || len(online) != 2 {
		t.Errorf("online %v (%v), want ana and ben", online, err)
	}
	again.sync()
	if again.heard("new_message") {
		t.Errorf("a row came twice: %q", again.held)
	}
}

func TestNobodyGetsTheSocketOfSomebodyElseBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ana := w.as(anaID)
	ana.must("join_conversation", bakery)
	ana.conn.Close()
	dora := connect(t, w.address, map[string]string{"token": w.token(doraID), "pid": ana.pid})
	if dora.sid == ana.sid {
		t.Error("another user got the socket back")
	}
	if o := dora.try("typing_start", bakery); o.Code != "not_joined" {
		t.Errorf("another user is in the room: %+v", o)
	}
	if b, refusal := open(t, w.address, map[string]string{"pid": ana.pid}); b != nil || refusal == "" {
		t.Error("a client without a token got in by the session's id")
	}
}

func TestATransactionOfTenThousandRowsPassesInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *config.Config) { cfg.SocketIO.MaxQueue = 64 << 20 }) // a client that is slower than the bridge is not what this is about
	ana := w.as(anaID)
	ana.must("join_conversation", bakery)
	const rows = 10_000
	w.inside(func(tx *standin.Tx) error {
		for i := range rows {
			if _, err := tx.Insert("messages", map[string]any{"conversation_id": bakery, "content": "x", "thread_position": i}); err != nil {
				return err
			}
		}
		return nil
	})
	for want := range rows {
		if got := ana.event("new_message"); got["thread_position"] != float64(want) {
			t.Fatalf("row %v came as number %d", got["thread_position"], want)
		}
	}
	ana.sync()
	if ana.heard("new_message") {
		t.Error("more rows came than were written")
	}
}

func TestAnExpiredKeyOfTheChannelIsTriedAgainAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ana := w.as(anaID)
	ana.must("join_conversation", bakery)
	if _, err := w.project.Realtime().Inject(phxserver.Fault{Action: phxserver.Expire}); err != nil {
		t.Fatal(err)
	}
	if got := ana.event("resync"); got["reason"] != "rejoin" {
		t.Errorf("resync %v, want one for the rejoin", got)
	}
	w.await(feed.Live)
	id := w.write(bakery, "after")
	if got := ana.event("new_message"); got["id"] != id {
		t.Errorf("new_message %v, want the one written after", got)
	}
}

func TestAJoinWithSinceThatIsRepeatedBringsNothingTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	first := w.write(bakery, "seen")
	seen := w.rest("GET", "messages?id=eq."+first, "")[0]
	missed := w.write(bakery, "missed")
	join := map[string]any{"conversationId": bakery, "since": seen}
	ana := w.as(anaID)
	ana.must("join_conversation", join)
	if got := ana.event("new_message"); got["id"] != missed {
		t.Errorf("new_message %v, want the one missed", got)
	}
	ana.must("join_conversation", join)
	ana.conn.Close()
	back := connect(t, w.address, map[string]string{"token": w.token(anaID), "pid": ana.pid, "offset": ana.offset})
	back.must("join_conversation", join)
	live := w.write(bakery, "live")
	if got := back.event("new_message"); got["id"] != live {
		t.Errorf("new_message %v, want only the live one", got)
	}
	back.must("leave_conversation", bakery)
	back.must("join_conversation", join)
	for _, want := range []string{missed, live} {
		if got := back.event("new_message"); got["id"] != want {
			t.Errorf("after leaving: new_message %v, want %s", got, want)
		}
	}
}

// isSinceRead knows a request that reads the messages of a conversation, as a join with since makes
// it.
func isSinceRead(r *http.Request) bool {
	return r.URL.Path == "/rest/v1/messages" && strings.Contains(r.URL.RawQuery, "conversation_id=eq.")
}

func TestAJoinWithSinceWhoseConnectionIsLostLosesNothingAndBringsNothingTwice(t *testing.T) {
	t.Parallel()
	for _, answered := range []bool{true, false} {
		for _, backFirst := range []bool{true, false} {
			t.Run(fmt.Sprintf("answered %t, back before it is settled %t", answered, backFirst), func(t *testing.T) {
				w := newWorld(t, nil)
				first := w.write(bakery, "seen")
				seen := w.rest("GET", "messages?id=eq."+first, "")[0]
				missed := w.write(bakery, "missed")
				join := map[string]any{"conversationId": bakery, "since": seen}
				ana := w.as(anaID)
				read := w.hold(isSinceRead)
				ana.emit("join_conversation", join)
				<-read.reached
				live := w.write(bakery, "while it reads")
				feed := w.pause()
				if answered {
					close(read.open)
					<-read.answered
				}
				socket := w.bridge.spaces[0].Socket(ana.sid)
				ana.conn.Close()
				<-socket.Context().Done()
				if !backFirst {
					feed.goOn()
					w.settled()
				}
				back := connect(t, w.address, map[string]string{"token": w.token(anaID), "pid": ana.pid})
				if back.sid != ana.sid {
					t.Fatalf("the socket is %s, want %s back", back.sid, ana.sid)
				}
				back.emit("join_conversation", join)
				if backFirst {
					feed.goOn()
				}
				if !answered {
					close(read.open)
				}
				back.must("join_conversation", join)
				for _, want := range []string{missed, live, w.write(bakery, "after")} {
					if got := back.event("new_message"); got["id"] != want {
						t.Fatalf("new_message %v, want %s", got, want)
					}
				}
				back.sync()
				if back.heard("new_message") {
					t.Errorf("a row came twice: %q", back.held)
				}
			})
		}
	}
}

func TestNobodyIsLetIntoARoomBeforeTheFeedKnowsWhereItStands(t *testing.T) {
	t.Parallel()
	w := unready(t, func(cfg *config.Config) { cfg.Supabase.RequestTimeout = 500 * time.Millisecond })
	start := w.hold(func(r *http.Request) bool {
		return r.URL.Path == "/rest/v1/conversations" && strings.Contains(r.URL.RawQuery, "order=")
	})
	w.run()
	<-start.reached
	ana := w.as(anaID)
	if o := ana.try("join_conversation", bakery); o.Success || o.Code != "unavailable" {
		t.Errorf("a join before the feed's first read: %+v, want unavailable", o)
	}
	close(start.open)
	w.await(feed.Live)
	ana.must("join_conversation", bakery)
	id := w.write(bakery, "live")
	if got := ana.event("new_message"); got["id"] != id {
		t.Errorf("new_message %v, want %s", got, id)
	}
}

func TestWhatAnotherRoomToldIsNotReadOutByAJoinWithSince(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	first := w.write(bakery, "seen")
	seen := w.rest("GET", "messages?id=eq."+first, "")[0]
	ben := w.as(benID)
	ben.must("join_conversation", bakery)
	missed := w.write(bakery, "before it came")
	for ben.event("new_message")["id"] != missed { // so that ana is not told of it
	}
	ana := w.as(anaID)
	ana.must("join_distributor")
	told := w.write(bakery, "told by the tenant's room")
	if got := ana.event("new_message"); got["id"] != told {
		t.Fatalf("new_message %v, want %s", got, told)
	}
	ana.must("join_conversation", map[string]any{"conversationId": bakery, "since": seen})
	if got := ana.event("new_message"); got["id"] != missed {
		t.Errorf("new_message %v, want the one missed", got)
	}
	ana.sync()
	if ana.heard("new_message") {
		t.Errorf("a row came twice: %q", ana.held)
	}
}

func TestAHoldStaysUntilTheFeedHasPassedOnWhatWasRead(t *testing.T) {
	t.Parallel()
	h := newHolds(config.Default())
	settled := false
	h.settled = func(time.Time, time.Time) bool { return settled }
	x := h.put(bakery, "a socket", new(stays), 0, nil)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	h.release(bakery, x, []missedRow{{key: "m1", at: at}})
	change := func(key string) feed.Change {
		r, err := row.Parse([]byte(`{"id":"` + key + `","updated_at":"2026-01-02T03:04:05Z"}`))
		if err != nil {
			t.Fatal(err)
		}
		return feed.Change{Action: feed.Update, Row: r}
	}
	for _, conversation := range []string{bakery, alpine, bakery} { // whatever room would bring it
		if got := h.take(change("m1"), []string{conversation}, nil, nil); len(got) != 1 {
			t.Errorf("a row that was read goes to all but %q, want all but the socket", got)
		}
	}
	if got := h.take(change("m2"), []string{bakery}, nil, nil); len(got) != 0 {
		t.Errorf("another row goes to all but %q", got)
	}
	settled = true
	if got := h.take(change("m1"), []string{bakery}, nil, nil); len(got) != 0 || len(h.readers)+h.rows != 0 {
		t.Errorf("once the feed is past it: all but %q, %d rows remembered, counted as %d", got, len(h.readers), h.rows)
	}
	h.release(alpine, h.put(alpine, "a socket", new(stays), 0, nil), []missedRow{{key: "m3", at: at}})
	h.swept = time.Time{}
	h.put(bakery, "a socket", new(stays), 0, nil)
	if len(h.readers)+len(h.done) != 0 || len(h.joining) != 1 {
		t.Errorf("after a while %d rows are remembered of %d joins, and %d conversations are being joined, want one", len(h.readers), len(h.done), len(h.joining))
	}
}

func TestARowThatMovesAwayWhileAJoinReadsIsKeptForIt(t *testing.T) {
	t.Parallel()
	h := newHolds(config.Default())
	x := h.put(bakery, "a socket", new(stays), 0, nil)
	if got := h.take(feed.Change{Action: feed.Update}, []string{alpine, bakery}, nil, nil); len(got) != 1 || len(x.kept) != 1 {
		t.Errorf("all but %q, %d kept, want it kept for the socket that is entering where the row was", got, len(x.kept))
	}
}

func TestASecondJoinTakesOverWhatTheFirstHasKept(t *testing.T) {
	t.Parallel()
	h := newHolds(config.Default())
	h.settled = func(time.Time, time.Time) bool { return false }
	told := 0
	first := h.put(bakery, "a socket", new(stays), 0, func(keptChange) { told++ })
	h.take(feed.Change{Action: feed.Insert}, []string{bakery}, nil, nil)
	second := h.put(bakery, "a socket", new(stays), 0, func(keptChange) { told++ })
	other := h.put(bakery, "another", new(stays), 0, func(keptChange) { told++ })
	if got := h.take(feed.Change{Action: feed.Update}, []string{bakery}, nil, nil); len(got) != 2 {
		t.Errorf("a change goes to all but %q, want each socket that is joining once", got)
	}
	if !first.over || len(second.kept) != 2 || second.kept[0].change.Action != feed.Insert || len(other.kept) != 1 {
		t.Errorf("taken over %t, kept %+v and %+v, want both changes in order and one", first.over, second.kept, other.kept)
	}
	if first.giveUp(); told != 0 {
		t.Errorf("%d changes were told by the join that was taken over", told)
	}
}
