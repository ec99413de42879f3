package bridge

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/config"
)

func limited(change func(*config.Limits)) func(*config.Config) {
	return func(cfg *config.Config) { change(&cfg.Limits) }
}

// exposition is what Prometheus reads.
func (w *world) exposition() string {
	ops := httptest.NewRecorder()
	w.bridge.OpsHandler().ServeHTTP(ops, httptest.NewRequest("GET", "/metrics", nil))
	return ops.Body.String()
}

func (w *world) wantMetrics(lines ...string) {
	w.t.Helper()
	text := w.exposition()
	for _, line := range lines {
		if !strings.Contains(text, line) {
			w.t.Errorf("/metrics lacks %s", line)
		}
	}
}

func TestEventsBeyondTheRateOfTheirIntentAreRefusedInWords(t *testing.T) {
	t.Parallel()
	w := newWorld(t, limited(func(l *config.Limits) { l.Socket.Events = []string{"heartbeat=0.001:3", "*=0.001:6"} }))
	ana := w.as(anaID)
	for range 3 {
		ana.must("heartbeat")
	}
	if o := ana.try("heartbeat"); o.Success || o.Code != "rate_limited" {
		t.Errorf("the fourth: %+v, want it refused", o)
	}
	ana.must("join_conversation", bakery) // another intent
	ana.must("typing_start", bakery)
	ana.must("typing_stop", bakery)
	if o := ana.try("leave_conversation", bakery); o.Code != "rate_limited" {
		t.Errorf("the seventh of all: %+v, want it refused", o)
	}
	for range 10 {
		ana.emit("heartbeat")
	}
	ana.try("heartbeat")
	if got := ana.event("error"); got["code"] != "rate_limited" || got["event"] != "heartbeat" {
		t.Errorf("error %v", got)
	}
	if ana.heard("error") {
		t.Error("each of ten events within a moment was answered")
	}
	w.write(bakery, "still here")
	ana.event("new_message")
	w.wantMetrics(`supabridge_limits_exceeded_total{intent="heartbeat",limit="socket.events"} 12`, `supabridge_limits_exceeded_total{intent="leave",limit="socket.events"} 1`)
	w.as(benID).must("heartbeat") // whom that does not concern
}

func TestAUserHasOneRateOnAllSockets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, limited(func(l *config.Limits) { l.User.Events = []string{"heartbeat=0.001:4"} }))
	one, two := w.as(anaID), w.as(anaID)
	for range 2 {
		one.must("heartbeat")
		two.must("heartbeat")
	}
	if o := one.try("heartbeat"); o.Code != "rate_limited" {
		t.Errorf("the fifth of the user: %+v", o)
	}
	one.conn.Close()
	two.conn.Close()
	w.awaitMetric("supabridge_users_connected 0")
	if o := w.as(anaID).try("heartbeat"); o.Code != "rate_limited" {
		t.Errorf("after coming again: %+v", o)
	}
	w.as(benID).must("heartbeat")
}

// becomes waits for something to be so.
func (w *world) becomes(what string, is func() bool) {
	w.t.Helper()
	w.until(what, func(feed.State) bool { return is() })
}

// awaitMetric waits for a line of the exposition.
func (w *world) awaitMetric(line string) {
	w.t.Helper()
	w.becomes("show "+line, func() bool { return strings.Contains(w.exposition(), line+"\n") })
}

func TestConnectionsOfAUserAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(cfg *config.Config) {
		cfg.Limits.User.Connections = 2
		cfg.Auth.Credentials = []string{"auth.token", "event"}
	})
	token := map[string]string{"token": w.token(anaID)}
	first, second := connect(t, w.address, token), connect(t, w.address, token)
	first.sync() // counted
	second.sync()
	knocks(t, w.address, token)
	w.awaitMetric(`supabridge_connections_refused_total{code="too_many_connections"} 1`)
	waiting := connect(t, w.address, nil)
	if o := waiting.try("authenticate", token); o.Code != "too_many_connections" {
		t.Errorf("the third, by an event: %+v", o)
	}
	w.as(benID)
	first.conn.Close()
	w.becomes("free one connection", func() bool { return !w.bridge.guard.users.Full(anaID, 2) })
	waiting.must("authenticate", token)
	w.wantMetrics(`supabridge_connections_refused_total{code="too_many_connections"} 1`, `supabridge_limits_exceeded_total{intent="",limit="user.connections"} 2`)
}

func TestRoomsAreBoundedBySocketAndUser(t *testing.T) {
	t.Parallel()
	const second, third = "c1000000-0000-4000-8000-000000000002", "c1000000-0000-4000-8000-000000000003"
	w := newWorld(t, limited(func(l *config.Limits) { l.Socket.Rooms, l.User.Rooms = 2, 3 }))
	one, two := w.as(anaID), w.as(anaID)
	one.must("join_conversation", bakery)
	one.must("join_conversation", second)
	if o := one.try("join_conversation", third); o.Code != "too_many_rooms" {
		t.Errorf("the third of a socket: %+v", o)
	}
	one.must("join_conversation", bakery) // that it is in
	two.must("join_conversation", bakery)
	if o := two.try("join_conversation", second); o.Code != "too_many_rooms" {
		t.Errorf("the fourth of a user: %+v", o)
	}
	one.must("leave_conversation", second)
	two.must("join_conversation", second)
	one.conn.Close()
	w.awaitMetric(`supabridge_sockets{dialect="underscore"} 1`)
	three := w.as(anaID)
	w.becomes("free the rooms", func() bool { return three.try("join_conversation", third).Success })
	w.wantMetrics(`supabridge_limits_exceeded_total{intent="",limit="socket.rooms"} 1`, `limit="user.rooms"}`)
}

func TestALargeEventIsRefusedAndTheConnectionStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, limited(func(l *config.Limits) { l.Socket.EventSize = 1024 }))
	ana := w.as(anaID)
	if o := ana.try("typing_start", map[string]string{"conversationId": bakery, "x": strings.Repeat("x", 1024)}); o.Code != "payload_too_large" {
		t.Errorf("%+v", o)
	}
	ana.must("join_conversation", map[string]string{"conversationId": bakery, "x": strings.Repeat("x", 512)})
	w.wantMetrics(`supabridge_limits_exceeded_total{intent="typing_start",limit="socket.event_size"} 1`)
}

// knock opens a connection as a proxy does and gives it with the status that came.
func (w *world) knock(forwarded string) (*websocket.Conn, int) {
	w.t.Helper()
	header := http.Header{}
	if forwarded != "" {
		header.Set("X-Forwarded-For", forwarded)
	}
	conn, resp, err := websocket.DefaultDialer.DialContext(w.t.Context(), "ws"+strings.TrimPrefix(w.address, "http")+"/socket.io/?EIO=4&transport=websocket", header)
	if resp == nil {
		w.t.Fatalf("no answer: %v", err)
	}
	if err == nil {
		w.t.Cleanup(func() { conn.Close() })
	}
	return conn, resp.StatusCode
}

func TestConnectionsOfAnAddressAreBoundedAsTheTrustedProxyNamesIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, limited(func(l *config.Limits) {
		l.Address.Connections, l.TrustedProxies = 2, []string{"127.0.0.0/8", "10.0.0.0/8"}
	}))
	counted := func(address string) func() bool {
		return func() bool { return w.bridge.guard.addresses.Full(address, 2) }
	}
	first, _ := w.knock("198.51.100.7")
	w.knock("6.6.6.6, 198.51.100.7, 10.0.0.1") // what the client itself wrote counts for nothing
	w.becomes("count two", counted("198.51.100.7"))
	if _, status := w.knock("198.51.100.7"); status != http.StatusForbidden {
		t.Errorf("the third: HTTP %d, want 403", status)
	}
	for _, other := range []string{"198.51.100.8", "6.6.6.6", "2001:db8::1"} {
		if _, status := w.knock(other); status != http.StatusSwitchingProtocols {
			t.Errorf("%s: HTTP %d", other, status)
		}
	}
	w.knock("2001:db8::2")
	w.becomes("count two", counted("2001:db8::/64"))
	if _, status := w.knock("2001:db8:0:0:ffff::1"); status != http.StatusForbidden {
		t.Errorf("the third of a network: HTTP %d, want 403", status)
	}
	first.Close()
	w.becomes("count one", func() bool { return !counted("198.51.100.7")() })
	if _, status := w.knock("198.51.100.7"); status != http.StatusSwitchingProtocols {
		t.Errorf("after one left: HTTP %d", status)
	}
	w.wantMetrics(`supabridge_limits_exceeded_total{intent="",limit="address.connections"} 2`)
}
