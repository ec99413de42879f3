package bridge

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supabridge/supabridge/bridge/access"
	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/config"
)

// asksRights are the questions of users whether they may be in conversations.
func (w *world) asksRights() func(*http.Request) bool {
	key := w.project.ServiceKey()
	return func(r *http.Request) bool {
		return r.URL.Path == "/rest/v1/conversations" && r.Header.Get("Authorization") != "Bearer "+key
	}
}

// keysAlone is the stand-in's seed where the old row of a change has nothing but its key.
func keysAlone(t *testing.T) *standin.Seed {
	t.Helper()
	text, err := os.ReadFile("standin/seed/inbox.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const full = "    replica_identity: full\n"
	if !strings.Contains(string(text), full) {
		t.Fatal("the seed has no table that tells its old rows whole any more")
	}
	seed, err := standin.ParseSeed(strings.NewReader(strings.ReplaceAll(string(text), full, "")))
	if err != nil {
		t.Fatal(err)
	}
	return seed
}

func TestAConversationThatNothingCameOfBeforeTakesNobodyAlong(t *testing.T) {
	t.Parallel()
	w := newWorldOn(t, standin.Options{Seed: keysAlone(t)}, nil)
	ana, dora := w.as(anaID), w.as(doraID)
	ana.must("join_conversation", bakery)
	ana.must("join_conversation", cafe)
	dora.must("join_distributor")
	w.must(w.bridge.upstream.feed.Do(t.Context(), func() { w.bridge.router.tenants.forget(bakery) })) // as after a start
	h := w.hold(w.asksRights())
	w.rest("PATCH", "conversations?id=eq."+bakery, `{"distributor_id":"`+alpine+`","customer_name":"`+secret+`"}`)
	<-h.reached
	w.write(bakery, secret)
	kept := w.write(cafe, "meanwhile")
	if got := ana.event("new_message"); got["id"] != kept {
		t.Errorf("new_message %v, want the one of the other room", got)
	}
	close(h.open)
	if got := dora.event("new_message"); got["content"] != secret {
		t.Errorf("new_message %v, want that of the new tenant", got)
	}
	ana.sync()
	if strings.Contains(fmt.Sprint(ana.held), secret) {
		t.Errorf("the old tenant got something of the new one's: %q", ana.held)
	}
}

func TestWhatAJoinHasReadDoesNotUndoWhatIsKnownOfARowThatMovedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *config.Config) { cfg.Rooms.Authorization.RecheckEvery = 0 })
	ana, dora := w.as(anaID), w.as(doraID)
	seen := w.rest("GET", "messages?id=eq."+w.write(bakery, "seen"), "")[0]
	id := w.write(bakery, "hello")
	dora.must("join_conversation", lodge)
	ana.must("join_conversation", bakery)
	ana.must("leave_conversation", bakery)
	h := w.hold(w.asksRights()) // comes after the rows have been read
	joined := make(chan struct{})
	go func() {
		defer close(joined)
		ana.must("join_conversation", map[string]any{"conversationId": bakery, "since": seen})
	}()
	<-h.reached
	w.rest("PATCH", "messages?id=eq."+id, `{"conversation_id":"`+lodge+`","content":"moved"}`)
	if got := dora.event("new_message"); got["id"] != id {
		t.Errorf("new_message %v", got)
	}
	close(h.open)
	<-joined
	if got := ana.event("message_deleted"); got["id"] != id {
		t.Errorf("message_deleted %v", got)
	}
	w.rest("PATCH", "messages?id=eq."+id, `{"content":"edited"}`)
	if got := dora.event("message_updated"); got["id"] != id || got["content"] != "edited" {
		t.Errorf("message_updated %v", got)
	}
	w.rest("DELETE", "messages?id=eq."+id, "")
	if got := dora.event("message_deleted"); got["id"] != id || got["conversationId"] != lodge {
		t.Errorf("message_deleted %v, want it told where the row was last", got)
	}
}

func TestAMessageThatWasTakenFromASocketIsReadOutToItWhereItIs(t *testing.T) {
	t.Parallel()
	for name, updated := range map[string]string{"no time of change": "", "one that is kept": "updated_at"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(cfg *config.Config) { cfg.Tables.Messages.Updated = updated })
			ana := w.as(anaID)
			seen := w.rest("GET", "messages?id=eq."+w.write(bakery, "seen"), "")[0]
			ana.must("join_conversation", bakery)
			id := w.write(bakery, "hello")
			for ana.event("new_message")["id"] != id {
			}
			w.rest("PATCH", "messages?id=eq."+id, `{"conversation_id":"`+cafe+`"}`)
			ana.event("message_deleted")
			ana.must("join_conversation", map[string]any{"conversationId": cafe, "since": seen["created_at"]})
			ana.sync()
			if got := strings.Count(fmt.Sprint(ana.held), id); got == 0 {
				t.Errorf("the row never came where it is: %q", ana.held)
			}
		})
	}
}

func TestAConversationDeletedAfterItMovedUnseenKeepsWhatItHeld(t *testing.T) {
	t.Parallel()
	r := newRoute(t, nil)
	r.change("conversations", "INSERT", `{"id":"c1","distributor_id":"d1","title":"old"}`, "")
	sent := r.change("conversations", "DELETE", "", `{"id":"c1","distributor_id":"d2","content":"`+secret+`"}`)
	r.keeps(sent, "conversation:c1", "tenant:d1")
	told := make(map[string]bool)
	for _, e := range sent {
		if e.event != vocabulary.ConversationDeleted {
			t.Errorf("event %v", e.event)
		}
		for _, room := range strings.Fields(e.rooms) {
			told[room] = true
		}
	}
	if !told["conversation:c1"] || !told["tenant:d1"] || !told["tenant:d2"] {
		t.Errorf("told in %v, want in all its rooms", told)
	}
}

func TestWhoHasReadARowIsNotToldOfItWhenItsTenantIsKnownAtLast(t *testing.T) {
	t.Parallel()
	r := newRoute(t, map[string]string{"c1": "d1"})
	r.holds.settled = func(time.Time, time.Time) bool { return r.waiting.count == 0 } // the feed itself is long past it
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	x := r.holds.put("c1", "reader", new(stays), 0, nil)
	answer := make(chan struct{})
	r.tenants.before = func(context.Context, []string) error { <-answer; return nil }
	r.waiting.take(t.Context(), feed.Change{Table: "messages", Action: feed.Insert,
		Row: parsed(t, `{"id":"m1","conversation_id":"c1","updated_at":"2026-01-01T00:00:00Z"}`)})
	r.holds.release("c1", x, []missedRow{{key: "m1", at: at}}) // it has been read meanwhile
	var except []string
	r.emit = func(to emit.Audience, _ *vocabulary.Occasion) { except = append(except, to.Except...) }
	close(answer)
	r.drain()
	if !slices.Contains(except, "reader") {
		t.Errorf("the row was told to all but %q, want it not told to who has read it", except)
	}
}

func TestConversationsThatMayHaveMovedWaitTogetherNoLongerThanOneDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoute(t, nil)
		r.occupied = func(string) bool { return true }
		r.moved = func(_ string, how access.Move) func(context.Context) {
			return func(ctx context.Context) { // as where nobody can be asked
				if how == access.MoveLater {
					return
				}
				ctx, cancel := context.WithTimeout(ctx, access.MaxMoveWait)
				defer cancel()
				<-ctx.Done()
			}
		}
		const conversations = 10 * maxMoveChecks
		for i := range conversations {
			r.waiting.take(t.Context(), feed.Change{Table: "conversations", Action: feed.Update,
				Row: parsed(t, fmt.Sprintf(`{"id":"c%d","distributor_id":"d1"}`, i))})
		}
		r.pass(access.MaxMoveWait)
		r.drain()
		if told := len(r.sent); told < conversations || r.waiting.count > 0 {
			t.Errorf("%d events of %d conversations were told after %v, and %d wait",
				told, conversations, access.MaxMoveWait, r.waiting.count)
		}
	})
}
