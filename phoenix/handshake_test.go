package phoenix

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// A refused handshake may be over in a second. Backoff.Max bounds the wait after it, whatever its
// status and whatever the server asks for.
func TestARefusedHandshakeIsTriedAgainWithinBackoffMax(t *testing.T) {
	const most = 3 * time.Second
	for _, tt := range []struct {
		status     int
		retryAfter string
		low        time.Duration
	}{
		{status: 401}, {status: 403}, {status: 404}, {status: 429}, {status: 418}, {status: 503},
		{429, "2", 2 * time.Second}, {503, "2", 2 * time.Second}, {429, "86400", most}, {429, "-5", 0}, {429, "soon", 0},
		{503, time.Now().Add(48 * time.Hour).UTC().Format(http.TimeFormat), most},
	} {
		for _, jitter := range []float64{0, 0.999} {
			t.Run(fmt.Sprint(tt.status, tt.retryAfter, jitter), func(t *testing.T) {
				t.Parallel()
				s := newScript(t, V2)
				s.refuse = func(w http.ResponseWriter) bool {
					if tt.retryAfter != "" {
						w.Header().Set("Retry-After", tt.retryAfter)
					}
					w.WriteHeader(tt.status)
					return true
				}
				o := quick()
				o.Backoff = Backoff{Min: time.Second, Max: most}
				o.Jitter = func() float64 { return jitter }
				ch := s.channel(s.client(o), ChannelOptions{})
				r := want[*Retrying](t, ch)
				if r.Delay > most || r.Delay < tt.low {
					t.Errorf("HTTP %d, Retry-After %q: the client waits %s, want %s to %s", tt.status, tt.retryAfter, r.Delay, tt.low, most)
				}
			})
		}
	}
}

// Every attempt after a refused handshake joins with a token of its own.
func TestARefusedHandshakeIsTriedAgainWithAFreshToken(t *testing.T) {
	s := newScript(t, V2)
	var refusals, asked atomic.Int32
	refusals.Store(3)
	s.refuse = func(w http.ResponseWriter) bool {
		if refusals.Add(-1) < 0 {
			return false
		}
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	ch := s.channel(s.client(quick()), ChannelOptions{Token: func(context.Context) (string, error) {
		return fmt.Sprint("token-", asked.Add(1)), nil
	}})
	first := s.accept()
	if got := accessToken(t, first.acceptJoin().Payload); got != "token-1" {
		t.Errorf("joined with %q", got)
	}
	until[*Joined](t, ch)
	refusals.Store(2)
	first.ws.Close()
	if got := accessToken(t, s.accept().acceptJoin().Payload); got != "token-2" {
		t.Errorf("joined again with %q", got)
	}
}

// accessToken is the token of a join's payload.
func accessToken(t *testing.T, payload []byte) string {
	t.Helper()
	var join joinPayload
	if err := json.Unmarshal(payload, &join); err != nil {
		t.Fatal(err)
	}
	return join.AccessToken
}

// A lost connection's close code doesn't stretch the wait beyond Backoff.Max either.
func TestACloseCodeIsFollowedWithinBackoffMax(t *testing.T) {
	b := Backoff{Min: time.Second, Max: 3 * time.Second}.withDefaults()
	for _, class := range []Class{Retry, Slow, Token, Permanent, OtherSocket} {
		for n := range 8 {
			if d := b.linkDelay(&Error{Op: OpLink, Class: class}, n, 0.999); d > b.Max {
				t.Errorf("class %s, failure %d: %s, want at most %s", class, n, d, b.Max)
			}
		}
	}
}

// A binding that names a table or a filter and no schema means the schema public. Realtime itself
// refuses a filter without a schema for good.
func TestABindingWithoutASchemaIsOfPublic(t *testing.T) {
	for _, b := range []Binding{
		{Table: "messages"},
		{Table: "messages", Filter: Eq("id", 7)},
		{Table: "messages", Select: []string{"id"}},
		{Event: Insert, Table: "messages", Filter: Eq("id", 7)},
	} {
		t.Run(fmt.Sprintf("%+v", b), func(t *testing.T) {
			t.Parallel()
			p := newProject(t, phxserver.Options{})
			o := quick()
			ch, err := p.client(t, o).Channel("room", ChannelOptions{Changes: []Binding{b}})
			if err != nil {
				t.Fatal(err)
			}
			if err := ch.Subscribe(t.Context()); err != nil {
				t.Fatal(err)
			}
			want[*Joined](t, ch)
			want[*Live](t, ch)
			p.commit("7", "hello")
			if got := want[*Change](t, ch); got.Schema != "public" || got.Table != "messages" {
				t.Errorf("change of %s.%s", got.Schema, got.Table)
			}
		})
	}
}

// A project that allows private channels only refuses a public one, after the server's own wait and
// in its own words, and gives a private one the row changes.
func TestAPrivateOnlyProjectGivesChangesToPrivateChannels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &project{watchers: make(map[int]func([]phxserver.Change))}
		p.server = phxserver.NewServer(p, phxserver.Options{PrivateOnly: true, Timing: phxserver.RealTiming()})
		network := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		p.http = &httptest.Server{Listener: network, Config: &http.Server{Handler: p.server}}
		p.http.Start()
		t.Cleanup(func() {
			p.server.Close(context.Background())
			p.http.Close()
		})
		subscribe := func(private bool) *Channel {
			c, err := NewClient("", Options{APIKey: "service_role", Endpoint: "ws://project",
				Dialer: &websocket.Dialer{NetDialContext: network.dial}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close(context.Background()) })
			ch, err := c.Channel("room", ChannelOptions{Changes: []Binding{{Table: "messages"}}, Private: private})
			if err != nil {
				t.Fatal(err)
			}
			if err := ch.Subscribe(t.Context()); err != nil {
				t.Fatal(err)
			}
			return ch
		}
		public, private := subscribe(false), subscribe(true)
		var refused *Retrying
		if took := after(func() { refused = want[*Retrying](t, public) }); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("refused after %s, want the 5 s of a real server", took)
		}
		const text = "realtime join realtime:room: PrivateOnly: This project only allows private channels"
		if refused.Err.Error() != text || ClassOf(refused.Err) != Permanent {
			t.Errorf("refused with %q (%s)", refused.Err, ClassOf(refused.Err))
		}
		want[*Joined](t, private)
		want[*Live](t, private)
		p.commit("1", "hello")
		want[*Change](t, private)
	})
}
