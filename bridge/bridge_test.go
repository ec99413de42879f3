package bridge

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Rows of the stand-in's own seed.
const (
	harbour = "d1000000-0000-4000-8000-000000000001" // a tenant, its users and one of its conversations
	anaID   = "a1000000-0000-4000-8000-000000000001"
	benID   = "a1000000-0000-4000-8000-000000000002"
	bakery  = "c1000000-0000-4000-8000-000000000001"
	alpine  = "d2000000-0000-4000-8000-000000000002" // another
	doraID  = "a2000000-0000-4000-8000-000000000001"
)

// world is a stand-in and a bridge on it.
type world struct {
	t        *testing.T
	project  *standin.Server
	upstream *line
	bridge   *Bridge
	address  string
	log      *lines
}

// lines is a log that a test may read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newWorld(t *testing.T, change func(*config.Config)) *world {
	t.Helper()
	project, err := standin.New(standin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	supabase := httptest.NewUnstartedServer(project.Handler())
	upstream := &line{Listener: supabase.Listener}
	supabase.Listener = upstream
	supabase.Start()
	cfg := config.Default()
	cfg.Supabase.URL = supabase.URL
	cfg.Supabase.ServiceRoleKey = config.Secret(project.ServiceKey())
	cfg.Supabase.AnonKey = config.Secret(project.AnonKey())
	cfg.Supabase.JWTSecret = testSecret
	cfg.Supabase.Reconnect = config.Reconnect{Min: 20 * time.Millisecond, Max: 100 * time.Millisecond}
	if change != nil {
		change(cfg)
	}
	w := &world{t: t, project: project, upstream: upstream, log: &lines{}}
	if w.bridge, err = New(cfg, zerolog.New(w.log)); err != nil {
		t.Fatal(err)
	}
	port := httptest.NewServer(w.bridge.Handler())
	w.address = port.URL
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.bridge.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		port.Close()
		supabase.CloseClientConnections()
		if err := project.Close(context.Background()); err != nil {
			t.Errorf("stand-in: %v", err)
		}
		supabase.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	w.await(feed.Live)
	return w
}

// await waits for a state of the feed.
func (w *world) await(want feed.State) {
	w.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for w.bridge.upstream.feed.Report().State != want {
		select {
		case <-tick.C:
		case <-timeout.C:
			w.t.Fatalf("the feed is %+v and did not become %s; log:\n%s", w.bridge.upstream.feed.Report(), want, w.log)
		}
	}
}

func (w *world) token(user string) string {
	w.t.Helper()
	token, err := w.project.UserToken(user)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// as connects a user of the seed.
func (w *world) as(user string) *browser {
	w.t.Helper()
	return connect(w.t, w.address, map[string]string{"token": w.token(user)})
}

// rest asks PostgREST as the service role.
func (w *world) rest(method, path, body string) []map[string]any {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.bridge.cfg.Supabase.URL+"/rest/v1/"+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	key := w.project.ServiceKey()
	req.Header = http.Header{"Apikey": {key}, "Authorization": {"Bearer " + key}, "Content-Type": {"application/json"}, "Prefer": {"return=representation"}}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	var rows []map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&rows); err != nil || resp.StatusCode > 299 {
		w.t.Fatalf("%s %s: %s (%v)", method, path, resp.Status, err)
	}
	return rows
}

// write inserts a message and gives its id.
func (w *world) write(conversation, content string) string {
	w.t.Helper()
	body, err := json.Marshal(map[string]any{"conversation_id": conversation, "content": content})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.rest("POST", "messages", string(body))[0]["id"].(string)
}

func TestARowReachesWhoeverJoinedAndNobodyElse(t *testing.T) {
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
	w.await(feed.CatchingUp)
	if get("/healthz") != 200 || get("/readyz") != 503 {
		t.Errorf("down: healthz %d, readyz %d; want 200, 503", get("/healthz"), get("/readyz"))
	}
}

func TestWhatIsCommittedWhileRealtimeIsAwayArrivesOnceWhenItIsBack(t *testing.T) {
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

// inside changes the stand-in's rows past its network.
func (w *world) inside(change func(*standin.Tx) error) {
	w.t.Helper()
	if err := w.project.DB().Tx(change); err != nil {
		w.t.Fatal(err)
	}
}

func text(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return s
}

func TestAJoinWithSinceBringsWhatWasMissedAndThenGoesLive(t *testing.T) {
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
	for since, code := range map[string]string{elsewhere: "bad_since", "yesterday": "bad_since"} {
		if o := ana.try("join_conversation", bakery, map[string]any{"since": since}); o.Success || o.Code != code {
			t.Errorf("since %s: %+v, want %s", since, o, code)
		}
	}
	if o := ana.try("typing_start", bakery); o.Code != "not_joined" {
		t.Errorf("after a join that failed: %+v, want not_joined", o)
	}
}

func TestNoRowIsLostOrTwiceWhereWritersAndJoinsWithSinceMeet(t *testing.T) {
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

func TestMetricsTellWhatHappened(t *testing.T) {
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
		`supabridge_feed_state{state="live"} 1`, `supabridge_feed_state{state="down"} 0`, `supabridge_sockets 1`,
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
