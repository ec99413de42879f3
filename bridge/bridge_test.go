package bridge

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestARowReachesWhoeverJoinedAndNobodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ana, dora, stranger := w.as(anaID), w.as(doraID), w.as(benID)
	if o := ana.must("join_conversation", bakery); o.ConversationID != bakery {
		t.Errorf("ack names %v, want %s", o.ConversationID, bakery)
	}
	if o := dora.try("join_conversation", bakery); o.Success || o.OK || o.Code != "forbidden" {
		t.Errorf("another tenant's join: %+v, want it refused", o)
	}
	id := w.write(bakery, "hello")
	got := ana.event("new_message")
	if got["id"] != id || got["content"] != "hello" || got["conversationId"] != bakery || got["distributorId"] != harbour {
		t.Errorf("new_message %v", got)
	}
	w.rest("PATCH", "messages?id=eq."+id, `{"status":"READ"}`)
	if got := ana.event("message_updated"); got["status"] != "READ" {
		t.Errorf("message_updated %v", got)
	}
	if got := ana.event("message_status_update"); got["previousStatus"] != "SENT" || got["messageId"] != id {
		t.Errorf("message_status_update %v", got)
	}
	w.rest("DELETE", "messages?id=eq."+id, "")
	if got := ana.event("message_deleted"); got["id"] != id || got["conversationId"] != bakery {
		t.Errorf("message_deleted %v", got)
	}
	for name, other := range map[string]*browser{"another tenant's user": dora, "one who did not join": stranger} {
		other.sync() // sent to after all the others were
		for _, event := range []string{"new_message", "message_updated", "message_deleted"} {
			if other.heard(event) {
				t.Errorf("%s got %s", name, event)
			}
		}
	}
}

func TestATenantsRoomGetsEachRowOfItsConversationsOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ana, dora := w.as(anaID), w.as(doraID)
	ana.must("join_distributor", harbour)
	ana.must("join_conversation", bakery)
	if o := dora.try("join_distributor", map[string]string{"distributorId": harbour}); o.Success || o.Code != "forbidden" {
		t.Errorf("another tenant's join: %+v, want it refused", o)
	}
	dora.must("join_distributor")
	w.write(bakery, "one")
	w.write(bakery, "two")
	for _, want := range []string{"one", "two"} {
		if got := ana.event("new_message"); got["content"] != want {
			t.Errorf("content %v, want %s", got["content"], want)
		}
	}
	if ana.heard("new_message") {
		t.Error("a row came twice to a socket in both rooms")
	}
	dora.sync()
	if dora.heard("new_message") {
		t.Error("another tenant's room got the row")
	}
}

func TestWithoutAGoodTokenNobodyConnects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *config.Config) { cfg.Auth.RefuseMessage = "Unauthorized" })
	for _, auth := range []any{nil, map[string]any{}, map[string]any{"token": "forged"}, map[string]any{"token": w.project.AnonKey()}, map[string]any{"userId": anaID}} {
		if b, refusal := open(t, w.address, auth); b != nil || refusal != "Unauthorized" {
			t.Errorf("auth %v: refusal %q, want Unauthorized", auth, refusal)
		}
	}
	if strings.Contains(w.log.String(), w.project.AnonKey()) {
		t.Error("a token is in the log")
	}
}

func TestTypingIsSeenByTheOthersAndEndsWithTheSocket(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ana, anaToo, ben := w.as(anaID), w.as(anaID), w.as(benID)
	for _, b := range []*browser{ana, anaToo, ben} {
		b.must("join_conversation", bakery)
	}
	ana.must("typing_start", map[string]string{"conversationId": bakery})
	if got := ben.event("user_typing"); got["userId"] != anaID || got["isTyping"] != true || got["userName"] != "Ana Reyes" || got["conversationId"] != bakery {
		t.Errorf("user_typing %v", got)
	}
	ana.conn.Close()
	if got := ben.event("user_typing"); got["isTyping"] != false {
		t.Errorf("user_typing %v, want it ended", got)
	}
	ben.event("user_stopped_typing")
	anaToo.sync()
	if anaToo.heard("user_typing") {
		t.Error("the user's own other socket was told")
	}
	if o := w.as(benID).try("typing_start", bakery); o.Success || o.Code != "not_joined" {
		t.Errorf("typing without having joined: %+v", o)
	}
}

func TestPresenceIsTheTenantsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *config.Config) { cfg.Presence.Grace = time.Millisecond })
	ana, dora := w.as(anaID), w.as(doraID)
	ana.must("join_distributor")
	dora.must("join_distributor")
	ben := w.as(benID)
	if got := ana.event("user_online"); got["userId"] != benID {
		for got["userId"] == anaID { // ana's own
			got = ana.event("user_online")
		}
		if got["userId"] != benID {
			t.Errorf("user_online %v, want ben", got)
		}
	}
	var online []string
	if err := json.Unmarshal(ana.ask("get_online_users"), &online); err != nil || strings.Join(online, " ") != anaID+" "+benID {
		t.Errorf("online: %v (%v), want ana and ben", online, err)
	}
	ben.conn.Close()
	if got := ana.event("user_offline"); got["userId"] != benID || got["lastSeen"] == nil {
		t.Errorf("user_offline %v, want ben", got)
	}
	if o := dora.try("get_online_users", harbour); o.Success || o.Code != "not_joined" {
		t.Errorf("another tenant's list: %+v, want it refused", o)
	}
	dora.sync()
	if strings.Contains(strings.Join(dora.held, " "), benID) {
		t.Error("another tenant was told of ben")
	}
}

func TestEveryEventIsAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ana := w.as(anaID)
	for _, test := range []struct {
		event string
		arg   any
		code  string
	}{
		{"join_conversation", nil, "bad_request"},
		{"join_conversation", "no-such-id", "forbidden"},
		{"join_conversation", map[string]any{"conversationId": map[string]any{}}, "bad_request"},
		{"typing_start", bakery, "not_joined"},
		{"mark_read", bakery, "not_joined"},
		{"send_message", map[string]any{"content": "x"}, "not_supported"},
		{"access_token", "forged", "unauthorized"},
		{"access_token", w.token(benID), "unauthorized"},
		{"open_sesame", nil, "unknown_event"},
	} {
		if o := ana.try(test.event, test.arg); o.Success || o.OK || o.Code != test.code {
			t.Errorf("%s %v: %+v, want %s", test.event, test.arg, o, test.code)
		}
	}
	ana.emit("open_sesame")
	if got := ana.event("error"); got["code"] != "unknown_event" || got["event"] != "open_sesame" {
		t.Errorf("error %v", got)
	}
	if n := strings.Count(w.log.String(), "open_sesame"); n != 1 {
		t.Errorf("the unknown event is logged %d times, want once", n)
	}
	if o := ana.try("access_token", map[string]string{"token": w.token(anaID)}); !o.Success {
		t.Errorf("a new token of the same user: %+v", o)
	}
}

func TestAUUIDInCapitalsIsTheSameRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ana := w.as(anaID)
	if o := ana.must("join_conversation", strings.ToUpper(bakery)); o.ConversationID != bakery {
		t.Errorf("ack names %v, want the id as stored", o.ConversationID)
	}
	ana.must("typing_start", strings.ToUpper(bakery))
	w.write(bakery, "hello")
	ana.event("new_message")
	ana.must("leave_conversation", strings.ToUpper(bakery))
	if o := ana.try("typing_start", bakery); o.Code != "not_joined" {
		t.Errorf("after leaving: %+v, want not_joined", o)
	}
}

func TestInsecureDevTakesAClientAtItsWord(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *config.Config) { cfg.Auth.InsecureDev = true })
	guest := connect(t, w.address, map[string]string{"userId": "u9", "distributorId": alpine})
	guest.must("join_conversation", bakery)
	w.write(bakery, "hello")
	guest.event("new_message")
	if !strings.Contains(w.log.String(), "insecure_dev") {
		t.Error("insecure_dev is not loud in the log")
	}
	if o := w.as(doraID).try("join_conversation", bakery); o.Code != "forbidden" {
		t.Errorf("a client with a token: %+v, want it held to that", o)
	}
}

func TestHealthIsTheProcessesAndReadinessTheFeeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	get := func(path string) int {
		t.Helper()
		resp, err := http.Get(w.address + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if get("/healthz") != 200 || get("/readyz") != 200 || get("/elsewhere") != 404 {
		t.Errorf("live: healthz %d, readyz %d, elsewhere %d; want 200, 200, 404", get("/healthz"), get("/readyz"), get("/elsewhere"))
	}
	w.upstream.cut()
	w.awaitNot(feed.Live)
	if get("/healthz") != 200 || get("/readyz") != 503 {
		t.Errorf("down: healthz %d, readyz %d; want 200, 503", get("/healthz"), get("/readyz"))
	}
}

func TestMetricsTellWhatHappened(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ana := w.as(anaID)
	ana.must("join_conversation", bakery)
	ana.try("join_conversation", "c2000000-0000-4000-8000-000000000001")
	open(t, w.address, nil)
	w.write(bakery, "hello")
	ana.event("new_message")
	ana.sync()
	w.write(bakery, "counted")
	ana.event("new_message")
	ops := httptest.NewRecorder()
	w.bridge.OpsHandler().ServeHTTP(ops, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`supabridge_feed_state{state="live"} 1`, `supabridge_feed_state{state="down"} 0`, `supabridge_sockets{dialect="underscore"} 1`,
		`supabridge_joins_total{result="ok",room="conversation"} 1`, `supabridge_joins_total{result="forbidden",room="conversation"} 1`,
		`supabridge_connections_refused_total{code="no_token"} 1`, `supabridge_events_received_total{intent="join"} 2`,
		`supabridge_connections_opened_total{transport="websocket"} 2`, "go_goroutines",
		`supabridge_changes_sent_total{action="INSERT",by="live",table="messages"}`,
	} {
		if !strings.Contains(ops.Body.String(), want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}
