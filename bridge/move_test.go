package bridge

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/bridge/supabase"
	"github.com/supabridge/supabridge/config"
)

// Another conversation of the seed's first tenant, and one of its second.
const (
	cafe  = "c1000000-0000-4000-8000-000000000002"
	lodge = "c2000000-0000-4000-8000-000000000001"
)

func TestReadersOfARoomThatAMessageLeftGetItsKeyAlone(t *testing.T) {
	t.Parallel()
	for _, lane := range []string{"off", "on"} {
		t.Run("fast lane "+lane, func(t *testing.T) {
			w := twoLanes(t, lane)
			if lane == "on" {
				w.fast()
			}
			ana, ben, dora := w.as(anaID), w.as(benID), w.as(doraID)
			ana.must("join_conversation", bakery)
			ben.must("join_distributor")
			dora.must("join_conversation", lodge)
			id := w.write(bakery, "hello")
			ana.event("new_message")
			ben.event("new_message")
			w.rest("PATCH", "messages?id=eq."+id, `{"conversation_id":"`+lodge+`","content":"`+secret+`","status":"READ"}`)
			for name, b := range map[string]*browser{"the old room": ana, "the old tenant": ben} {
				got := b.event("message_deleted")
				if got["id"] != id || got["conversationId"] != bakery || got["content"] != nil || got["status"] != nil {
					t.Errorf("%s got message_deleted %v, want the key alone", name, got)
				}
			}
			if got := dora.event("new_message"); got["id"] != id || got["content"] != secret {
				t.Errorf("the new room got new_message %v", got)
			}
			for _, b := range []*browser{ana, ben, dora} {
				b.sync()
				for _, event := range []string{"message_updated", "message_status_update"} {
					if b.heard(event) {
						t.Errorf("%s came: %q", event, b.held)
					}
				}
			}
		})
	}
}

func TestAMessageThatMovesWhileItIsReadInBothRoomsIsToldOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ana, dora := w.as(anaID), w.as(doraID)
	id := w.write(bakery, "hello")
	seen := w.rest("GET", "messages?id=eq."+w.write(bakery, "seen"), "")[0]
	other := w.rest("GET", "messages?id=eq."+w.write(lodge, "seen"), "")[0]
	reads := func(conversation string) func(*http.Request) bool {
		return func(r *http.Request) bool {
			return r.URL.Path == "/rest/v1/messages" && r.URL.Query().Get("conversation_id") == "eq."+conversation
		}
	}
	// Ana reads what she missed in the room that the message leaves, while it leaves.
	h := w.hold(reads(bakery))
	joined := make(chan struct{})
	go func() {
		defer close(joined)
		ana.must("join_conversation", map[string]any{"conversationId": bakery, "since": seen})
	}()
	<-h.reached
	dora.must("join_conversation", lodge)
	w.rest("PATCH", "messages?id=eq."+id, `{"conversation_id":"`+lodge+`","content":"`+secret+`"}`)
	close(h.open)
	<-joined
	if got := ana.event("message_deleted"); got["id"] != id || got["content"] != nil {
		t.Errorf("message_deleted %v, want the key alone", got)
	}
	ana.sync()
	if strings.Contains(fmt.Sprint(ana.held), secret) {
		t.Errorf("she got what the row held after it had left: %q", ana.held)
	}
	// Dora reads the room that it is in by now.
	dora.must("leave_conversation", lodge)
	dora.must("join_conversation", map[string]any{"conversationId": lodge, "since": other})
	dora.sync()
	if got := strings.Count(fmt.Sprint(dora.held), `",{"id":"`+id); got != 2 { // once live, and once when she joined anew
		t.Errorf("dora got the row %d times, want twice: %q", got, dora.held)
	}
}

func TestAConversationThatMovesHoldsBackItsOwnRoomAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *config.Config) { cfg.Rooms.Authorization.AllowedFor = time.Hour })
	ana, ben, dora := w.as(anaID), w.as(benID), w.as(doraID)
	for _, b := range []*browser{ana, ben} {
		b.must("join_conversation", bakery)
		b.must("join_conversation", cafe)
	}
	ben.must("join_distributor")
	dora.must("join_distributor")
	key := w.project.ServiceKey()
	h := w.hold(func(r *http.Request) bool { // the question whether somebody may stay
		return r.URL.Path == "/rest/v1/conversations" && r.Header.Get("Authorization") != "Bearer "+key
	})
	w.rest("PATCH", "conversations?id=eq."+bakery, `{"distributor_id":"`+alpine+`","customer_name":"`+secret+`"}`)
	<-h.reached
	hidden := w.write(bakery, secret)
	kept := w.write(cafe, "meanwhile")
	for _, b := range []*browser{ana, ben} { // while that question is open
		if got := b.event("new_message"); got["id"] != kept {
			t.Errorf("new_message %v, want the one of the other room", got)
		}
	}
	close(h.open)
	if got := dora.event("new_message"); got["id"] != hidden {
		t.Errorf("new_message %v, want that of the new tenant", got)
	}
	if got := dora.event("new_conversation"); got["id"] != bakery || got["customer_name"] != secret {
		t.Errorf("new_conversation %v", got)
	}
	if got := ben.event("conversation_deleted"); got["id"] != bakery || got["customer_name"] != nil {
		t.Errorf("conversation_deleted %v, want the key alone", got)
	}
	for _, b := range []*browser{ana, ben} {
		b.sync()
		if b.heard("new_message") || b.heard("conversation_updated") || strings.Contains(fmt.Sprint(b.held), secret) {
			t.Errorf("the old tenant got something of the new one's: %q", b.held)
		}
	}
}

func TestAQuestionThatHangsAfterAMoveKeepsTheOldTenantOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ana, dora := w.as(anaID), w.as(doraID)
	ana.must("join_conversation", bakery)
	dora.must("join_distributor")
	key := w.project.ServiceKey()
	h := w.hold(func(r *http.Request) bool {
		return r.URL.Path == "/rest/v1/conversations" && r.Header.Get("Authorization") != "Bearer "+key
	})
	w.rest("PATCH", "conversations?id=eq."+bakery, `{"distributor_id":"`+alpine+`"}`)
	<-h.reached
	hidden := w.write(bakery, secret)
	if got := dora.event("new_message"); got["id"] != hidden {
		t.Errorf("new_message %v", got)
	}
	close(h.open)
	if got := ana.event("error"); got["code"] != "access_lost" {
		t.Errorf("error %v", got)
	}
	ana.sync()
	if ana.heard("new_message") {
		t.Error("the old tenant got a message of the new one's, since nobody could say that it may not")
	}
}

func TestRowsThatRestartTheirKeysAreOtherRows(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ana, dora := w.as(anaID), w.as(doraID)
	ana.must("join_conversation", bakery)
	dora.must("join_conversation", lodge)
	id := w.write(bakery, "the first of this key")
	ana.event("new_message")
	// The key goes while Realtime is away, and comes back in another conversation.
	w.upstream.cut()
	w.awaitNot(feed.Live)
	w.inside(func(tx *standin.Tx) error {
		_, err := tx.Delete("messages", map[string]any{"id": id})
		return err
	})
	w.inside(func(tx *standin.Tx) error {
		_, err := tx.Insert("messages", map[string]any{"id": id, "conversation_id": lodge, "content": secret})
		return err
	})
	w.upstream.mend()
	w.await(feed.Live)
	if got := dora.event("new_message"); got["id"] != id || got["content"] != secret {
		t.Errorf("new_message %v", got)
	}
	if got := ana.event("message_deleted"); got["id"] != id || got["content"] != nil {
		t.Errorf("message_deleted %v, want the key alone", got)
	}
	ana.sync()
	if ana.heard("message_updated") || ana.heard("new_message") || strings.Contains(fmt.Sprint(ana.held), secret) {
		t.Errorf("the room of the first row got the second: %q", ana.held)
	}
}

// slowTenants has each question for tenants take 50 ms, and counts them.
type slowTenants struct {
	rows  valueReader
	asked atomic.Int32
}

func (s *slowTenants) Values(ctx context.Context, table, column, key string, ids []string) ([]supabase.Pair, error) {
	s.asked.Add(1)
	timer := time.NewTimer(50 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return s.rows.Values(ctx, table, column, key, ids)
}

func TestAThousandRowsToAThousandColdRoomsOfAProject(t *testing.T) {
	t.Parallel()
	w := unready(t, nil)
	var conversations, messages []string
	for i := range 1000 {
		id := fmt.Sprintf("c9000000-0000-4000-8000-%012d", i)
		conversations = append(conversations, fmt.Sprintf(`{"id":%q,"distributor_id":%q}`, id, harbour))
		messages = append(messages, fmt.Sprintf(`{"conversation_id":%q,"content":"x"}`, id))
	}
	w.rest("POST", "conversations", "["+strings.Join(conversations, ",")+"]")
	tenants := w.bridge.router.tenants
	rows := tenants.rows
	counting := &slowTenants{rows: rows}
	tenants.rows = counting
	w.run()
	w.await(feed.Live)
	for c := range 1000 { // what the first read taught is forgotten: the rooms are cold
		tenants.forget(fmt.Sprintf("c9000000-0000-4000-8000-%012d", c))
	}
	ben := w.as(benID)
	ben.must("join_distributor")
	began := time.Now()
	w.rest("POST", "messages", "["+strings.Join(messages, ",")+"]")
	var got []string
	for range 1000 {
		got = append(got, fmt.Sprint(ben.event("new_message")["id"]))
	}
	asked := int(counting.asked.Load())
	t.Logf("1000 rows took %v and %d questions", time.Since(began), asked)
	slices.Sort(got)
	if n := len(slices.Compact(got)); n != 1000 || asked > 60 {
		t.Errorf("%d rows came by %d questions, want 1000 by 60 at most", n, asked)
	}
}
