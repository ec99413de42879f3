package realtime_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/phoenix/phxserver"

	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/bridge/standin/realtime"
	"github.com/supabridge/supabridge/bridge/standin/sql"
	"github.com/supabridge/supabridge/bridge/standin/tokens"
)

func TestTopicPoliciesAddUp(t *testing.T) {
	rt := open(t, realtime.Options{Policies: []realtime.TopicPolicy{
		{Role: sql.RoleAuthenticated, Topic: "room:%", Read: true},
		{Role: sql.RoleAuthenticated, Topic: "room:open", Extension: "broadcast", Write: true},
		{Topic: "dist:{app_metadata.distributor_id}", Extension: "presence", Read: true, Write: true},
		{Topic: `100\%`, Read: true},
	}})
	user := sql.Claims{Role: sql.RoleAuthenticated, Raw: map[string]any{"app_metadata": map[string]any{"distributor_id": "d_1"}}}
	anon := sql.Claims{Role: sql.RoleAnon}
	for _, test := range []struct {
		claims sql.Claims
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
		{sql.Claims{Role: sql.RoleService}, "whatever", phxserver.Access{ReadBroadcast: true, WriteBroadcast: true, ReadPresence: true, WritePresence: true}},
	} {
		got, err := rt.Authorize(context.Background(), test.claims, test.topic)
		if err != nil || got != test.want {
			t.Errorf("%s on %s: %+v, %v, want %+v", test.claims.Role, test.topic, got, err, test.want)
		}
	}
}

// open is Realtime on no tables.
func open(t *testing.T, opts realtime.Options) *realtime.Realtime {
	t.Helper()
	db, err := sql.New(nil, sql.Options{})
	if err != nil {
		t.Fatal(err)
	}
	project, err := tokens.New(tokens.DefaultJWTSecret)
	if err != nil {
		t.Fatal(err)
	}
	rt := realtime.New(db, project, opts)
	t.Cleanup(func() {
		if err := rt.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return rt
}

// inbox is the default stand-in on a real port.
func inbox(t *testing.T) (*standin.Server, *httptest.Server) {
	t.Helper()
	s, err := standin.New(standin.Options{})
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
		if err := s.DB().Tx(func(tx *sql.Tx) error {
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
	expired, err := s.Tokens().Mint(sql.RoleAnon, "", nil, time.Now(), -time.Hour)
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
