package admin_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"
	"golang.org/x/crypto/bcrypt"

	"github.com/supabridge/supabridge/socketio"
	"github.com/supabridge/supabridge/socketio/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is used up only where a test fails.
const patience = 10 * time.Second

// client is a websocket that speaks as much Socket.IO as is needed here.
type client struct {
	t         *testing.T
	conn      *websocket.Conn
	namespace string
}

func dial(t *testing.T, url, namespace, query string, auth any) *client {
	t.Helper()
	conn, _, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(url, "http")+"/socket.io/?EIO=4&transport=websocket"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &client{t, conn, ""}
	if namespace != "/" {
		c.namespace = namespace + ","
	}
	var text []byte
	if auth != nil {
		if text, err = json.Marshal(auth); err != nil {
			t.Fatal(err)
		}
	}
	c.write("40" + c.namespace + string(text))
	return c
}

func (c *client) write(frame string) {
	c.t.Helper()
	if err := c.conn.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) emit(args ...any) {
	c.t.Helper()
	text, err := json.Marshal(args)
	if err != nil {
		c.t.Fatal(err)
	}
	c.write("42" + c.namespace + string(text))
}

// packet waits for one that begins so, and returns the rest.
func (c *client) packet(prefix string) string {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		c.t.Fatal(err)
	}
	for {
		_, frame, err := c.conn.ReadMessage()
		if err != nil {
			c.t.Fatalf("waiting for %s: %v", prefix, err)
		}
		if rest, ok := strings.CutPrefix(string(frame), prefix); ok {
			return rest
		}
	}
}

// event waits for an event and returns its arguments as text.
func (c *client) event(name string) string {
	c.t.Helper()
	return c.packet("42" + c.namespace + `["` + name + `",`)
}

func (c *client) connected() *client {
	c.t.Helper()
	c.packet("40" + c.namespace)
	return c
}

func start(t *testing.T, change func(*admin.Options)) (io *socketio.Server, url string) {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("open sesame"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	io = socketio.NewServer(socketio.Options{Recovery: socketio.Recovery{Enabled: true}})
	opts := admin.Options{Username: "ops", PasswordHash: string(hash)}
	if change != nil {
		change(&opts)
	}
	a, err := admin.Instrument(io, opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); a.Run(ctx) }()
	server := httptest.NewServer(io)
	t.Cleanup(func() {
		stop()
		<-ended
		io.Close()
		server.Close()
	})
	io.OnConnection(func(s *socketio.Socket) {
		s.On("enter", func(e *socketio.Event) {
			s.Join("hall")
			_ = io.To("hall").Emit("entered", json.RawMessage(`"a secret message"`))
		})
	})
	return io, server.URL
}

var password = map[string]string{"username": "ops", "password": "open sesame"}

func TestAnAdminSeesWhatHappens(t *testing.T) {
	_, url := start(t, nil)
	before := dial(t, url, "/", "&token=hush", nil).connected()
	ops := dial(t, url, "/admin", "", password).connected()
	ops.event("session")
	if got := ops.event("config"); !strings.Contains(got, "ALL_EVENTS") || strings.Contains(got, "DISCONNECT") {
		t.Errorf("features are %s, want ALL_EVENTS and no action", got)
	}
	if got := ops.event("all_sockets"); !strings.Contains(got, `"nsp":"/"`) || strings.Contains(got, "hush") {
		t.Errorf("the sockets are %s, want the one of / without its token", got)
	}
	if got := ops.event("server_stats"); !strings.Contains(got, `"clientsCount":2`) {
		t.Errorf("statistics %s, want two clients", got)
	}
	before.emit("enter", "a secret question")
	if got := ops.event("event_received"); !strings.Contains(got, `["enter","(19 bytes)"]`) {
		t.Errorf("received %s, want the name and the size", got)
	}
	if got := ops.event("room_joined"); !strings.HasPrefix(got, `"/","hall",`) {
		t.Errorf("joined %s", got)
	}
	if got := ops.event("event_sent"); !strings.Contains(got, `["entered","(18 bytes)"]`) {
		t.Errorf("sent %s, want the name and the size", got)
	}
	before.conn.Close()
	if got := ops.event("room_left"); !strings.HasPrefix(got, `"/","hall",`) {
		t.Errorf("left %s", got)
	}
	if got := ops.event("socket_disconnected"); !strings.Contains(got, "transport close") {
		t.Errorf("disconnected %s", got)
	}
	if got := ops.event("server_stats"); !strings.Contains(got, `"type":"packetsIn"`) || !strings.Contains(got, `"subType":"transport close"`) {
		t.Errorf("statistics %s, want packets and the end of a connection", got)
	}
}

func TestBodiesAreShownWhereAskedFor(t *testing.T) {
	_, url := start(t, func(o *admin.Options) { o.Bodies = true })
	ops := dial(t, url, "/admin", "", password).connected()
	ops.event("all_sockets")
	dial(t, url, "/", "", nil).connected().emit("enter")
	if got := ops.event("event_sent"); !strings.Contains(got, `["entered","a secret message"]`) {
		t.Errorf("sent %s, want the message", got)
	}
}

func TestOnlyAllowedActionsAreCarriedOut(t *testing.T) {
	done := make(chan admin.Deed, 1)
	_, url := start(t, func(o *admin.Options) {
		o.Allow = []admin.Action{admin.Disconnect}
		o.Acted = func(d admin.Deed) { done <- d }
	})
	user := dial(t, url, "/", "", nil).connected()
	ops := dial(t, url, "/admin", "", password).connected()
	ops.event("all_sockets")
	user.emit("enter")
	user.event("entered")
	ops.emit("emit", "/", "hall", "forged", 1)
	ops.emit("_disconnect", "/nowhere", false, "hall")
	ops.emit("_disconnect", "/", false, "hall")
	if got := <-done; got.Action != admin.Disconnect || got.Namespace != "/" || got.Filter != "hall" {
		t.Errorf("carried out %+v", got)
	}
	if err := user.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, frame, err := user.conn.ReadMessage(); err != nil || string(frame) != "41" {
		t.Errorf("the user got %s (%v), want a disconnect and nothing before it", frame, err)
	}
}

func TestEveryActionReachesItsSockets(t *testing.T) {
	_, url := start(t, func(o *admin.Options) { o.Allow = []admin.Action{admin.Emit, admin.Join, admin.Leave} })
	user := dial(t, url, "/", "", nil).connected()
	ops := dial(t, url, "/admin", "", password).connected()
	ops.emit("join", "/", "loft", nil)
	ops.emit("emit", "/", "loft", "hello", map[string]int{"n": 1})
	if got := user.event("hello"); !strings.HasPrefix(got, `{"n":1}`) {
		t.Errorf("the user got %s", got)
	}
	ops.emit("leave", "/", "loft", nil)
	ops.emit("emit", "/", "loft", "nobody", 1)
	ops.emit("emit", "/", nil, "everybody", 1)
	if _, frame, err := user.conn.ReadMessage(); err != nil || !strings.Contains(string(frame), "everybody") {
		t.Errorf("the user got %s (%v), want what was sent to everybody", frame, err)
	}
}

func TestOnlyAnAdminIsLetIn(t *testing.T) {
	_, url := start(t, nil)
	refused := func(auth any) string { return dial(t, url, "/admin", "", auth).packet("44/admin,") }
	for _, auth := range []any{
		nil, map[string]string{}, map[string]string{"username": "ops", "password": "open sesam"}, map[string]string{"username": "op", "password": "open sesame"},
		map[string]string{"sessionId": "guess"}, map[string]any{"username": map[string]string{}}, map[string]string{"username": "ops", "password": strings.Repeat("x", 300)},
	} {
		if got := refused(auth); !strings.Contains(got, `"invalid credentials"`) {
			t.Errorf("%v was answered %s", auth, got)
		}
	}
	ops := dial(t, url, "/admin", "", password).connected()
	session, _, _ := strings.Cut(strings.TrimPrefix(ops.event("session"), `"`), `"`)
	dial(t, url, "/admin", "", map[string]string{"sessionId": session}).connected()
	var got string
	for range 20 {
		if got = refused(map[string]string{"username": "ops", "password": "guess"}); strings.Contains(got, "too many") {
			break
		}
	}
	if !strings.Contains(got, "too many") {
		t.Errorf("the twentieth guess was answered %s", got)
	}
	dial(t, url, "/admin", "", map[string]string{"sessionId": session}).connected()
}

func TestWithCountsOnlyNoSocketIsNamed(t *testing.T) {
	_, url := start(t, func(o *admin.Options) { o.CountsOnly = true })
	user := dial(t, url, "/", "", nil).connected()
	ops := dial(t, url, "/admin", "", password).connected()
	user.emit("enter")
	for range 4 { // session, config and statistics, twice
		if err := ops.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		_, frame, err := ops.conn.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"all_sockets", "socket_connected", "room_joined", "event_received"} {
			if strings.Contains(string(frame), name) {
				t.Errorf("told %s", frame)
			}
		}
	}
}

func TestInstrumentRefusesAPasswordInTheClear(t *testing.T) {
	io := socketio.NewServer(socketio.Options{})
	t.Cleanup(io.Close)
	for _, opts := range []admin.Options{{}, {Username: "ops"}, {Username: "ops", PasswordHash: "open sesame"}} {
		if _, err := admin.Instrument(io, opts); err == nil || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%+v: %v", opts, err)
		}
	}
}
