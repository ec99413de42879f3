package bridge

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/supabridge/supabridge/config"
)

// tokenOfTenant is a new token of a user, of a tenant.
func tokenOfTenant(t *testing.T, user, tenant string) string {
	t.Helper()
	return sign(t, jwt.SigningMethodHS256, []byte(testSecret), claims(jwt.MapClaims{"sub": user, "app_metadata": map[string]any{"distributor_id": tenant}}))
}

func TestAConversationThatMovesToAnotherTenantTakesNobodyAlong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ana, ben, dora := w.as(anaID), w.as(benID), w.as(doraID)
	const other = "c1000000-0000-4000-8000-000000000002"
	for _, b := range []*browser{ana, ben} {
		b.must("join_conversation", bakery)
		b.must("join_conversation", other)
	}
	ana.must("typing_start", bakery)
	if o := dora.try("join_conversation", bakery); o.Code != "forbidden" {
		t.Fatalf("before it moved: %+v", o)
	}
	w.rest("PATCH", "conversations?id=eq."+bakery, `{"distributor_id":"`+alpine+`"}`)
	for _, b := range []*browser{ana, ben} {
		if got := b.event("error"); got["code"] != "access_lost" || got["conversationId"] != bakery {
			t.Errorf("error %v, want the right to the conversation lost", got)
		}
		if o := b.try("typing_start", bakery); o.Code != "not_joined" {
			t.Errorf("typing there: %+v", o)
		}
		if o := b.try("join_conversation", bakery); o.Code != "forbidden" {
			t.Errorf("joining again: %+v, though the answer from before must not count", o)
		}
	}
	dora.must("join_conversation", bakery) // nor that one
	secret := w.write(bakery, "of the new tenant")
	if got := dora.event("new_message"); got["id"] != secret {
		t.Errorf("new_message %v", got)
	}
	kept := w.write(other, "elsewhere")
	for _, b := range []*browser{ana, ben} {
		if got := b.event("new_message"); got["id"] != kept {
			t.Errorf("new_message %v, want only the one of the room that is left", got)
		}
	}
	if dora.heard("user_typing") {
		t.Error("whoever had been typing is heard in the new tenant")
	}
}

func TestASocketThatWasAwayWhileAConversationMovedDoesNotGetItsRoomsBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ana, dora := w.as(anaID), w.as(doraID)
	const other = "c1000000-0000-4000-8000-000000000002"
	ana.must("join_conversation", bakery)
	w.write(bakery, "seen")
	ana.event("new_message")
	ana.conn.Close()
	w.rest("PATCH", "conversations?id=eq."+bakery, `{"distributor_id":"`+alpine+`"}`)
	w.awaitRoom(dora, bakery)
	w.write(bakery, "of the new tenant")
	dora.event("new_message")
	back := connect(t, w.address, map[string]string{"token": w.token(anaID), "pid": ana.pid, "offset": ana.offset})
	if back.pid == ana.pid {
		t.Error("the socket got its session back")
	}
	back.must("join_conversation", other)
	w.write(other, "elsewhere")
	if got := back.event("new_message"); got["content"] != "elsewhere" {
		t.Errorf("new_message %v, want none of what it may not see", got)
	}
	// One whose conversations stayed where they are gets them back.
	back.conn.Close()
	again := connect(t, w.address, map[string]string{"token": w.token(anaID), "pid": back.pid, "offset": back.offset})
	if again.pid != back.pid {
		t.Error("a socket whose rooms did not move was not recovered")
	}
}

func TestAJoinThatMeetsAMoveEndsOutsideTheRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *config.Config) { cfg.Limits.Socket.Events, cfg.Limits.User.Events = nil, nil })
	ana, dora := w.as(anaID), w.as(doraID)
	move := func(tenant string) {
		w.rest("PATCH", "conversations?id=eq."+bakery, `{"distributor_id":"`+tenant+`"}`)
	}
	for round := range 20 {
		move(harbour)
		w.awaitRoom(ana, bakery)
		ana.must("leave_conversation", bakery)
		moved := make(chan struct{})
		go func() { defer close(moved); move(alpine) }()
		for meeting := true; meeting; {
			select {
			case <-moved:
				meeting = false
			default:
			}
			ana.try("join_conversation", bakery)
		}
		w.write(bakery, fmt.Sprint("secret ", round)) // with the feed the very next
		w.awaitRoom(dora, bakery)
		last := w.write(bakery, "for dora")
		for dora.event("new_message")["id"] != last {
		}
		ana.sync()
		if ana.heard("new_message") {
			t.Fatalf("round %d: a message came from a room that moved while it was entered", round)
		}
		dora.must("leave_conversation", bakery)
	}
}

// awaitRoom joins as soon as the feed has brought what lets the user in.
func (w *world) awaitRoom(b *browser, conversation string) {
	w.t.Helper()
	for range 200 {
		if b.try("join_conversation", conversation).Success {
			return
		}
	}
	w.t.Fatalf("the conversation %s was never open", conversation)
}

func TestAnotherTokenOfTheSameUserTakesItOutOfWhatThatDoesNotAllow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *config.Config) { cfg.Presence.Grace = time.Millisecond })
	ben := w.as(benID)
	ben.must("join_distributor")
	ana := w.as(anaID)
	ana.must("join_conversation", bakery)
	ana.must("join_distributor")
	ana.must("access_token", map[string]string{"token": w.token(anaID)}) // that allows the same
	w.write(bakery, "hello")
	ana.event("new_message")
	ana.must("access_token", map[string]string{"token": tokenOfTenant(t, anaID, alpine)})
	lost := map[string]bool{}
	for range 2 {
		got := ana.event("error")
		lost[fmt.Sprint(got["code"], got["conversationId"], got["distributorId"])] = true
	}
	if !lost["access_lost"+bakery+"<nil>"] || !lost["access_lost<nil>"+harbour] {
		t.Errorf("errors %v, want both rooms lost", lost)
	}
	if got := ben.event("user_offline"); got["userId"] != anaID {
		t.Errorf("user_offline %v, want ana gone from the tenant", got)
	}
	w.write(bakery, "not for ana any more")
	ben.event("new_message")
	ben.event("new_message")
	ana.must("join_distributor", alpine)
	ana.sync()
	if ana.heard("new_message") {
		t.Error("a message came from a room that was lost")
	}
}

func TestARightThatIsWithdrawnIsNoticedByTheTimer(t *testing.T) {
	t.Parallel()
	var answer atomic.Value
	answer.Store("yes")
	var asked atomic.Int32
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		switch answer.Load() {
		case "yes":
			fmt.Fprint(w, `{"allow":true}`)
		case "no":
			fmt.Fprint(w, `{"allow":false}`)
		default:
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	t.Cleanup(app.Close)
	w := newWorld(t, func(cfg *config.Config) {
		cfg.Rooms.Conversation.Rules = []string{"callback"}
		a := &cfg.Rooms.Authorization
		a.Callback.URL, a.Callback.Secret = app.URL, callbackSecret
		a.RecheckEvery, a.RecheckRate = 20*time.Millisecond, 1000
	})
	ana := w.as(anaID)
	ana.must("join_conversation", bakery)
	again := func() { // as many questions as make sure that one began by now and was settled
		t.Helper()
		target := asked.Load() + 3
		w.becomes("be asked", func() bool { return asked.Load() >= target })
		ana.sync()
	}
	again()
	answer.Store("broken")
	again()
	w.write(bakery, "hello")
	ana.event("new_message") // where it can't be decided everybody stays
	answer.Store("no")
	if got := ana.event("error"); got["code"] != "access_lost" || got["conversationId"] != bakery {
		t.Errorf("error %v", got)
	}
	if o := ana.try("typing_start", bakery); o.Code != "not_joined" {
		t.Errorf("typing afterwards: %+v", o)
	}
	if o := ana.try("join_conversation", bakery); o.Code != "forbidden" {
		t.Errorf("joining afterwards: %+v", o)
	}
	ops := httptest.NewRecorder()
	w.bridge.OpsHandler().ServeHTTP(ops, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{`supabridge_rights_checked_total{reason="timer",result="lost"} 1`, `result="failed"`, `result="kept"`, "supabridge_rights_round_seconds"} {
		if !strings.Contains(ops.Body.String(), want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

func TestRulesThatAreReloadedHoldForThoseWhoAreThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ana := w.as(anaID)
	ana.must("join_conversation", bakery)
	next := *w.bridge.cfg()
	next.Rooms.Conversation.Rules = []string{"claim"}
	next.Rooms.Conversation.Claims = []string{"app_metadata.conversations"}
	if _, err := w.bridge.Reload(&next); err != nil {
		t.Fatal(err)
	}
	if got := ana.event("error"); got["code"] != "access_lost" || got["conversationId"] != bakery {
		t.Errorf("error %v", got)
	}
	if o := ana.try("join_conversation", bakery); o.Code != "forbidden" {
		t.Errorf("joining again: %+v, though the answer by the old rules must not count", o)
	}
}
