package standin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/phoenix"
	"github.com/supabridge/supabridge/phoenix/phxserver"
)

func TestTopicPoliciesAddUp(t *testing.T) {
	rt := &realtime{opts: RealtimeOptions{Policies: []TopicPolicy{
		{Role: roleAuthenticated, Topic: "room:%", Read: true},
		{Role: roleAuthenticated, Topic: "room:open", Extension: "broadcast", Write: true},
		{Topic: "dist:{app_metadata.distributor_id}", Extension: "presence", Read: true, Write: true},
		{Topic: `100\%`, Read: true},
	}}}
	user := Claims{Role: roleAuthenticated, Raw: map[string]any{"app_metadata": map[string]any{"distributor_id": "d_1"}}}
	anon := Claims{Role: roleAnon}
	for _, test := range []struct {
		claims Claims
		topic  string
		want   phxserver.Access
	}{
		{user, "room:a", phxserver.Access{ReadBroadcast: true, ReadPresence: true}},
		{user, "room:open", phxserver.Access{ReadBroadcast: true, ReadPresence: true, WriteBroadcast: true}},
		{anon, "room:open", phxserver.Access{}},
		{user, "dist:d_1", phxserver.Access{ReadPresence: true, WritePresence: true}},
		{user, "dist:dx1", phxserver.Access{}},
		{anon, "dist:", phxserver.Access{}},
		{anon, "100%", phxserver.Access{ReadBroadcast: true, ReadPresence: true}},
		{anon, "100x", phxserver.Access{}},
		{Claims{Role: roleService}, "whatever", phxserver.Access{ReadBroadcast: true, WriteBroadcast: true, ReadPresence: true, WritePresence: true}},
	} {
		got, err := rt.Authorize(context.Background(), test.claims, test.topic)
		if err != nil || got != test.want {
			t.Errorf("%s on %s: %+v, %v, want %+v", test.claims.Role, test.topic, got, err, test.want)
		}
	}
}

// inbox is the default stand-in on a real port.
func inbox(t *testing.T) (*Server, *httptest.Server) {
	t.Helper()
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		web.Close()
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s, web
}

// listenToMessages joins topic room with a binding to messages, and waits for the subscription.
func listenToMessages(t *testing.T, web *httptest.Server, key, token string) *websocket.Conn {
	t.Helper()
	ws, _, err := websocket.DefaultDialer.Dial(strings.Replace(web.URL, "http", "ws", 1)+"/realtime/v1/websocket?vsn=2.0.0&apikey="+key, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.Close() })
	join := `["1","1","realtime:room","phx_join",{"config":{"postgres_changes":[{"event":"*","schema":"public","table":"messages"}]},"access_token":"` + token + `"}]`
	if err := ws.WriteMessage(websocket.TextMessage, []byte(join)); err != nil {
		t.Fatal(err)
	}
	hearFrame(t, ws, `"status":"ok"`)
	hearFrame(t, ws, "Subscribed to PostgreSQL")
	return ws
}

// hearFrame reads the next frame, which is to contain a text.
func hearFrame(t *testing.T, ws *websocket.Conn, want string) string {
	t.Helper()
	if err := ws.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, frame, err := ws.ReadMessage()
	if err != nil {
		t.Fatalf("waiting for %s: %v", want, err)
	}
	if !strings.Contains(string(frame), want) {
		t.Fatalf("got %s, want one with %s", frame, want)
	}
	return string(frame)
}

func TestUserHearsOnlyRowsOfTheirTenant(t *testing.T) {
	s, web := inbox(t)
	token, err := s.UserToken("a1000000-0000-4000-8000-000000000001")
	if err != nil {
		t.Fatal(err)
	}
	ws := listenToMessages(t, web, s.AnonKey(), token)
	write := func(conversation, content string) {
		t.Helper()
		if err := s.DB().Tx(func(tx *Tx) error {
			_, err := tx.Insert("messages", map[string]any{"conversation_id": conversation, "content": content})
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	write("c2000000-0000-4000-8000-000000000001", "theirs")
	write("c1000000-0000-4000-8000-000000000001", "ours")
	frame := hearFrame(t, ws, `"content": "ours"`)
	var parts []json.RawMessage
	if err := json.Unmarshal([]byte(frame), &parts); err != nil || len(parts) != 5 {
		t.Errorf("frame %s: %v", frame, err)
	}
}

func TestPublishableKeyOpensASocket(t *testing.T) {
	s, web := inbox(t)
	ws := listenToMessages(t, web, s.Tokens().PublishableKey(), "sb_publishable_x")
	if _, err := s.Realtime().Inject(phxserver.Fault{Action: phxserver.Leave}); err != nil {
		t.Fatal(err)
	}
	hearFrame(t, ws, "phx_close")
}

func TestHandshakeWithABadKeySaysWhy(t *testing.T) {
	s, web := inbox(t)
	expired, err := s.Tokens().Mint(roleAnon, "", nil, time.Now(), -time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"":                `{"error":"API key is missing"}`,
		"abc":             `{"error":"The token provided is not a valid JWT"}`,
		s.AnonKey() + "x": `{"error":"Failed to validate JWT signature"}`,
		expired:           `{"error":"Token has expired"}`,
	} {
		_, resp, err := websocket.DefaultDialer.Dial(strings.Replace(web.URL, "http", "ws", 1)+"/realtime/v1/websocket?apikey="+key, nil)
		if err == nil || resp == nil {
			t.Fatalf("key %.10s: %v, want a refusal", key, err)
		}
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusUnauthorized || string(body) != want {
			t.Errorf("key %.10s: %d %s, want 401 %s", key, resp.StatusCode, body, want)
		}
	}
}

func TestFaultsOverHTTP(t *testing.T) {
	_, web := inbox(t)
	request := func(method, body string, header http.Header) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, web.URL+"/admin/faults", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for name := range header {
			req.Header.Set(name, header.Get(name))
		}
		resp, err := web.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, strings.TrimSpace(string(answer))
	}
	for _, test := range []struct {
		method, body string
		header       http.Header
		status       int
		answer       string
	}{
		{http.MethodPost, `{"action":"drop","event":"heartbeat","for":"1m"}`, nil, 200, `{"fault":{"action":"drop","event":"heartbeat","for":"1m0s"},"hits":0}`},
		{http.MethodGet, "", nil, 200, `[{"fault":{"action":"drop","event":"heartbeat","for":"1m0s"},"hits":0}]`},
		{http.MethodPost, `{"action":"cut"}`, nil, 200, `{"fault":{"action":"cut"},"hits":0}`},
		{http.MethodPost, `{"action":"cut","what":1}`, nil, 400, `{"error":"fault: json: unknown field \"what\""}`},
		{http.MethodPost, `{"action":"cut"}`, http.Header{"Origin": {"https://evil.example"}}, 403, `{"error":"faults are for this machine's command line only"}`},
		{http.MethodDelete, "", nil, 204, ""},
		{http.MethodGet, "", nil, 200, `[]`},
	} {
		if status, answer := request(test.method, test.body, test.header); status != test.status || answer != test.answer {
			t.Errorf("%s %s: %d %s, want %d %s", test.method, test.body, status, answer, test.status, test.answer)
		}
	}
}

func TestPublicationIsAlteredWhileSomebodyListens(t *testing.T) {
	s, web := inbox(t)
	client, err := phoenix.NewClient(web.URL, phoenix.Options{APIKey: s.ServiceKey()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close(t.Context())
	ch, err := client.Channel("rows", phoenix.ChannelOptions{Changes: []phoenix.Binding{{Table: "messages"}}})
	if err != nil {
		t.Fatal(err)
	}
	alter := func(body string, want int) {
		t.Helper()
		resp, err := web.Client().Post(web.URL+"/admin/publication", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != want {
			t.Errorf("%s: %d %s, want %d", body, resp.StatusCode, answer, want)
		}
	}
	for _, bad := range []string{``, `{}`, `{"table":"messages"}`, `{"table":"messages","published":1}`, `{"table":"messages","published":true,"x":1}`} {
		alter(bad, http.StatusBadRequest)
	}
	alter(`{"table":"nothing","published":true}`, http.StatusNotFound)
	if err := ch.Subscribe(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := func() phoenix.Event { return <-ch.Events() }
	steps := []struct {
		alter string
		want  string
	}{
		{"", "[*phoenix.Joined *phoenix.Live]"},
		{`{"table":"public.users","published":false}`, "[*phoenix.Gap *phoenix.Live]"}, // another table: a gap all the same
		{`{"table":"public.messages","published":false}`, "[*phoenix.SystemError]"},    // its own: the subscription can't be made
	}
	for _, step := range steps {
		if step.alter != "" {
			alter(step.alter, http.StatusOK)
		}
		var got []string
		for range strings.Count(step.want, "*") {
			ev := next()
			got = append(got, fmt.Sprintf("%T", ev))
			if gap, ok := ev.(*phoenix.Gap); ok && gap.Reason != phoenix.GapResubscribed {
				t.Errorf("%+v", gap)
			}
			if e, ok := ev.(*phoenix.SystemError); ok && e.Class != phoenix.Permanent {
				t.Errorf("%+v", e)
			}
		}
		if fmt.Sprint(got) != step.want {
			t.Errorf("after %s came %v, want %s", step.alter, got, step.want)
		}
	}
	if err := ch.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	// It is not healed by itself, but the next one works.
	alter(`{"table":"messages","published":true}`, http.StatusOK)
	ch, err = client.Channel("rows", phoenix.ChannelOptions{Changes: []phoenix.Binding{{Table: "messages"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.Subscribe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := ch.Wait(t.Context(), phoenix.StageLive); err != nil {
		t.Error(err)
	}
}

func TestFaultsAreForThisMachineOnly(t *testing.T) {
	s, _ := inbox(t)
	for remote, want := range map[string]int{"192.0.2.1:5": 403, "127.0.0.1:5": 200, "[::1]:5": 200, "nonsense": 403} {
		req := httptest.NewRequest(http.MethodGet, "/admin/faults", nil)
		req.RemoteAddr = remote
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, req)
		if w.Code != want {
			t.Errorf("from %s: %d, want %d", remote, w.Code, want)
		}
	}
}
